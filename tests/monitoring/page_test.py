#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The built-in page in a headless browser: page_test.py PAGE_SERVER [FOLDER_FOR_PICTURES].

It shows all actors, a change through it takes effect, a bad one shows line and reason. Exit code 77
where there is no browser."""
import subprocess
import sys
import tempfile
import time
import urllib.request

import browser

TOKEN = "0123456789abcdef0123456789abcdef"
ACTORS = ["config_watcher", "metrics", "supervisor", "router", "shard_owner", "stream_scheduler",
          "compressor", "transfer"]


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as reply:
        return reply.read().decode()


def check(what, condition):
    if not condition:
        raise AssertionError(what)
    print("ok:", what)


def text(page, name):
    return page.ask(f"document.getElementById('{name}').textContent")


def press(page, button):
    page.ask("document.getElementById('answer').textContent = ''")
    page.ask(f"document.getElementById('{button}').click()")
    return page.wait_for("(x => x !== '…' && x)(document.getElementById('answer').textContent)")


def edit(page, old, new):
    done = page.ask(f"""(() => {{
      const x = document.getElementById('yaml');
      if (!x.value.includes({old!r})) return false;
      x.value = x.value.replace({old!r}, {new!r});
      x.dispatchEvent(new Event('input'));
      return true;
    }})()""")
    check(f"the configuration shown has {old!r}", done)


def shows(page):
    page.wait_for("document.getElementById('state').textContent === 'ready'")
    page.wait_for("document.querySelectorAll('#actors rect.box').length > 0")
    drawn = text(page, "actors")
    for name in ACTORS:
        check(f"the graph shows {name}", name in drawn)
    check("both shard owners are drawn", "shard_owner 0" in drawn and "shard_owner 1" in drawn)
    page.wait_for("document.querySelectorAll('#devices .shards').length === 2")
    page.wait_for("document.getElementById('ghosts').textContent.includes('h2o')")
    page.wait_for("document.getElementById('fidelity').textContent.includes('coverage')")
    check("entries were read", "read" in text(page, "entries-legend"))


def changes(page, port):
    page.wait_for("document.getElementById('yaml').value.includes('policy: mass')")
    edit(page, "share: 0.25", "share: 0.5")
    check("without the token nothing changes", "token" in press(page, "apply"))
    check("the share is as before", "share: 0.25" in get(port, "/config"))
    page.ask(f"document.getElementById('token').value = '{TOKEN}'")
    check("a check says what would change", "selection.share" in press(page, "check"))
    began = time.monotonic()
    check("it is taken", "Version 2 is in force" in press(page, "apply"))
    check("it is in force", "share: 0.5" in get(port, "/config"))
    page.wait_for("document.getElementById('version').textContent === '2'")
    check("metrics show it within 2 s of the press", time.monotonic() - began < 2 + 2)  # and a look
    page.wait_for("document.getElementById('history').textContent.includes('selection.share')")
    edit(page, "policy: mass", "policy: mas")
    answer = press(page, "apply")
    check(f"a bad one shows its line and reason: {answer}", "<text>:" in answer and '"mass"' in answer)
    page.wait_for("document.getElementById('history').textContent.includes('refused')")
    check("going back works", "Version 3 is in force" in press(page, "rollback"))
    check("the share is the first one again", "share: 0.25" in get(port, "/config"))


def draw(page, folder):
    for name, width, height, dark in [("light", 1280, 1500, False), ("dark", 1280, 1500, True),
                                      ("phone", 390, 3200, True)]:
        page.look(width, height, dark)
        time.sleep(2.5)  # a look of the page
        page.picture(f"{folder}/page_{name}.png")
    page.look(390, 3200, False)
    wide = page.ask("document.documentElement.scrollWidth")
    check(f"a phone needs no scrolling to the side ({wide})", wide <= 390)


def main():
    program = browser.find()
    if not program:
        print("skipped: there is no chromium")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/token", "w") as out:
            out.write(TOKEN)
        server = subprocess.Popen([sys.argv[1], folder + "/token"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        try:
            port = int(server.stdout.readline())
            with browser.Browser(program) as page:
                page.look(1280, 1500, False)
                page.open(f"http://127.0.0.1:{port}/")
                shows(page)
                changes(page, port)
                draw(page, sys.argv[2] if len(sys.argv) > 2 else folder)
        finally:
            server.stdin.close()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
    check("the process ended by itself", server.returncode == 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())

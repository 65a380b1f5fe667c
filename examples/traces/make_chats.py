#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a synthetic request trace for `pikv replay`: multi-turn chats with shared prefixes.

The model, in blocks of 64 tokens: a chat begins at random with one of a few applications, whose
system prompts are shared by all their chats (Zipf), and maybe with one of their documents (Zipf).
Each turn adds a question and the answer to the turn before; users think for a while (lognormal), and
leave after each turn with a probability that is the application's own. Answers have lengths of the
application's own too, so that their class (the trace's "tag") tells something, but not all, of
whether a chat goes on. Nothing here was measured on real traffic.

    ./make_chats.py > chats.jsonl        # the trace that ships; the same bytes every time
"""
import heapq
import json
import random
import sys

BLOCK_TOKENS = 64
REQUESTS = 1500
APPLICATIONS = [  # weight, prompt blocks, documents, question and answer tokens, leaves
    (10, 12, 0, 60, 400, 0.25),
    (6, 30, 60, 40, 90, 0.35),
    (3, 6, 0, 900, 700, 0.9),
    (2, 20, 200, 30, 30, 0.15),
]


def zipf(rng, n, s=1.1):
    weights = [1 / (k + 1) ** s for k in range(n)]
    return rng.choices(range(n), weights)[0]


def main():
    rng = random.Random(20260101)
    names = {}  # a prefix of contents -> block id

    def block(content):
        return names.setdefault(content, len(names))

    print(json.dumps({"format": "pikv-trace", "version": 1, "block_tokens": BLOCK_TOKENS,
                      "prefix": True}))
    events, chats = [], 0
    next_arrival = 0.0
    for _ in range(REQUESTS):
        while not events or next_arrival < events[0][0]:
            app = rng.choices(range(len(APPLICATIONS)), [a[0] for a in APPLICATIONS])[0]
            document = zipf(rng, APPLICATIONS[app][2]) if APPLICATIONS[app][2] else None
            heapq.heappush(events, (next_arrival, chats, app, document, 0))
            chats += 1
            next_arrival += rng.expovariate(1 / 3.0)
        time, chat, app, document, tokens = heapq.heappop(events)
        _, prompt, _, question, answer, leaves = APPLICATIONS[app]
        tokens += max(1, int(rng.lognormvariate(0, 0.6) * question))
        shared = [("app", app, i) for i in range(prompt)]
        if document is not None:
            shared += [("doc", app, document, i) for i in range(10 + document * 7 % 50)]
        own = -(-tokens // BLOCK_TOKENS)
        last = tokens - (own - 1) * BLOCK_TOKENS
        # A block that is not full is not the one that the next turn will fill.
        ids = [block(x) for x in shared] + [block(("chat", chat, i)) for i in range(own - 1)]
        ids.append(block(("chat", chat, own - 1) if last == BLOCK_TOKENS
                         else ("end", chat, own - 1, tokens)))
        answered = max(1, int(rng.lognormvariate(0, 0.4) * answer))
        print(json.dumps({"blocks": ids, "tag": (answered + 1).bit_length() - 1,
                          "last_tokens": last}, separators=(",", ":")))
        if rng.random() > leaves:
            heapq.heappush(events, (time + rng.lognormvariate(4, 1), chat, app, document,
                                    tokens + answered))
    return 0


if __name__ == "__main__":
    sys.exit(main())

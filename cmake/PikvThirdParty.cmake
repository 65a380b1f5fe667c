# SPDX-License-Identifier: Apache-2.0
# The third-party libraries that PiKV's static libraries need at link time. Included by the build
# and, after installation, by pikvConfig.cmake. Expects FindCAF.cmake beside it in
# CMAKE_MODULE_PATH and the macro pikv_third_party_find(package ...) to be defined, which says what
# happens when a package is missing.
pikv_third_party_find(Threads)
pikv_third_party_find(CAF)
pikv_third_party_find(fmt)
pikv_third_party_find(yaml-cpp)
pikv_third_party_find(prometheus-cpp CONFIG)
pikv_third_party_find(hwy CONFIG)
pikv_third_party_find(PkgConfig)
if(NOT TARGET PkgConfig::LIBUV)
  pkg_check_modules(LIBUV REQUIRED QUIET IMPORTED_TARGET libuv)
endif()
if(NOT TARGET PkgConfig::XXHASH)
  pkg_check_modules(XXHASH REQUIRED QUIET IMPORTED_TARGET libxxhash)
endif()
# Not civetweb's own CMake package: Debian's refers to files of another package.
find_path(CIVETWEB_INCLUDE_DIR civetweb.h REQUIRED)
find_library(CIVETWEB_LIBRARY civetweb REQUIRED)
if(NOT TARGET pikv_civetweb)
  add_library(pikv_civetweb UNKNOWN IMPORTED)
  set_target_properties(pikv_civetweb PROPERTIES
    IMPORTED_LOCATION "${CIVETWEB_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${CIVETWEB_INCLUDE_DIR}")
endif()
mark_as_advanced(CIVETWEB_INCLUDE_DIR CIVETWEB_LIBRARY)

# SPDX-License-Identifier: Apache-2.0
# cmake -DBUILD=<build tree> -DPREFIX=<folder> -P install.cmake
file(REMOVE_RECURSE "${PREFIX}") # a file of an earlier installation must not help this one
execute_process(
  COMMAND ${CMAKE_COMMAND} --install "${BUILD}" --prefix "${PREFIX}" --component development
  COMMAND_ERROR_IS_FATAL ANY)

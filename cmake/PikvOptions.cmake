# SPDX-License-Identifier: Apache-2.0
# Build options, compiler settings and the helpers that every folder uses.
include(GNUInstallDirs)

option(PIKV_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(PIKV_BUILD_BENCH "Build the benchmarks" OFF)
option(PIKV_BUILD_EXAMPLES "Build the examples and the demo" ${PROJECT_IS_TOP_LEVEL})
option(PIKV_BUILD_FUZZ "Build the fuzzers of tests/fuzz (clang)" OFF)
set(PIKV_SANITIZE "" CACHE STRING "Sanitizers: empty, 'address' (with undefined) or 'thread'")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")

find_program(PIKV_CCACHE ccache)
if(PIKV_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without these it would pass by every file with a precompiled header; gcc also has to say in the
  # preprocessed source which one it used.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros "${PIKV_CCACHE}")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
  endif()
endif()

# One include tree for the source and for the installed package: <pikv/folder/file.hpp>.
set(PIKV_INCLUDE_DIR "${PROJECT_BINARY_DIR}/include")
file(MAKE_DIRECTORY "${PIKV_INCLUDE_DIR}/pikv")
foreach(folder messages policies gpu config monitoring actors)
  file(CREATE_LINK "${PROJECT_SOURCE_DIR}/${folder}" "${PIKV_INCLUDE_DIR}/pikv/${folder}" SYMBOLIC)
endforeach()

add_library(pikv_build_flags INTERFACE)
target_compile_options(pikv_build_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Werror)
# What GCC concludes after optimising changes with its version and with sanitizers, and is often
# wrong about library code inlined into ours: these stay warnings. Clang does not know them all.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(pikv_build_flags INTERFACE
    -Wno-error=maybe-uninitialized -Wno-error=array-bounds -Wno-error=stringop-overflow)
endif()
if(PIKV_SANITIZE STREQUAL "address")
  # CAF 0.17's headers bind references to null and take their queues' ends for elements, which only
  # -fsanitize=null and vptr report; GCC 12 also seems to miscompile calls through members with it.
  add_compile_options(-fsanitize=address,undefined -fno-sanitize=null,vptr -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(PIKV_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
endif()

if(PIKV_BUILD_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "PIKV_BUILD_FUZZ needs clang: use the preset fuzz, or CXX=clang++")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link) # everything reports what it covered
endif()

# pikv_add_library(folder SOURCES ... DEPENDS ...): the target pikv_<folder>, alias pikv::<folder>.
function(pikv_add_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(pikv_${folder} STATIC ${ARG_SOURCES})
  add_library(pikv::${folder} ALIAS pikv_${folder})
  set_target_properties(pikv_${folder} PROPERTIES EXPORT_NAME ${folder})
  target_compile_features(pikv_${folder} PUBLIC cxx_std_20)
  target_include_directories(pikv_${folder} PUBLIC
    $<BUILD_INTERFACE:${PIKV_INCLUDE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(pikv_${folder}
    PUBLIC ${ARG_DEPENDS} PRIVATE ${ARG_PRIVATE_DEPENDS} $<BUILD_INTERFACE:pikv_build_flags>)
  set_property(GLOBAL APPEND PROPERTY PIKV_LIBRARIES pikv_${folder})
endfunction()

# SPDX-License-Identifier: Apache-2.0
# Packages that the build needs; CUDA and NCCL are used when they are there.
macro(pikv_third_party_find)
  find_package(${ARGN} REQUIRED)
endmacro()
include(PikvThirdParty)
# Only programs use these. Found here, so that tools/, examples/ and tests/ all see their targets.
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)

find_package(CUDAToolkit QUIET)
option(PIKV_WITH_CUDA "Build what needs the CUDA toolkit" ${CUDAToolkit_FOUND})
if(PIKV_WITH_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES "80;90a" CACHE STRING "GPU architectures to build kernels for")
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 does not know that nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
endif()
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
if(NCCL_INCLUDE_DIR AND NCCL_LIBRARY AND CUDAToolkit_FOUND)
  set(PIKV_NCCL_FOUND ON)
else()
  set(PIKV_NCCL_FOUND OFF)
endif()
option(PIKV_WITH_NCCL "Build what needs NCCL" ${PIKV_NCCL_FOUND})

# SPDX-License-Identifier: Apache-2.0
# The umbrella target pikv::pikv, and its installation: archives, headers, a CMake package and a
# pkg-config file (component "development").
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

get_property(pikv_libraries GLOBAL PROPERTY PIKV_LIBRARIES)
add_library(pikv_umbrella INTERFACE)
add_library(pikv::pikv ALIAS pikv_umbrella)
set_target_properties(pikv_umbrella PROPERTIES EXPORT_NAME pikv)
target_link_libraries(pikv_umbrella INTERFACE ${pikv_libraries})

set(pikv_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/pikv")
install(TARGETS ${pikv_libraries} pikv_umbrella EXPORT pikvTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development)
install(EXPORT pikvTargets NAMESPACE pikv:: DESTINATION "${pikv_cmake_dir}"
  COMPONENT development)
foreach(folder messages policies gpu config monitoring actors)
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/${folder}"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/pikv" COMPONENT development
    FILES_MATCHING PATTERN "*.hpp")
endforeach()

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/pikvConfig.cmake.in" "${PROJECT_BINARY_DIR}/pikvConfig.cmake"
  INSTALL_DESTINATION "${pikv_cmake_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/pikvConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/pikvConfig.cmake" "${PROJECT_BINARY_DIR}/pikvConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/PikvThirdParty.cmake" "${PROJECT_SOURCE_DIR}/cmake/FindCAF.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/FindNCCL.cmake"
  DESTINATION "${pikv_cmake_dir}" COMPONENT development)

# Users before what they use: the order that a linker wants for archives.
set(pikv_archives ${pikv_libraries})
list(REVERSE pikv_archives)
list(TRANSFORM pikv_archives PREPEND "-l")
list(JOIN pikv_archives " " PIKV_PC_ARCHIVES)
set(PIKV_PC_PRIVATE_LIBS "")
if(PIKV_WITH_CUDA)
  string(APPEND PIKV_PC_PRIVATE_LIBS " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -lrt -ldl")
  if(PIKV_WITH_NCCL)
    get_filename_component(pikv_nccl_dir "${NCCL_LIBRARY}" DIRECTORY)
    string(APPEND PIKV_PC_PRIVATE_LIBS " -L${pikv_nccl_dir} -lnccl")
  endif()
endif()
# From the .pc file to the prefix, so that the installed tree can be moved.
string(REGEX REPLACE "[^/]+" ".." PIKV_PC_UP "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
configure_file("${PROJECT_SOURCE_DIR}/cmake/pikv.pc.in" "${PROJECT_BINARY_DIR}/pikv.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/pikv.pc"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT development)

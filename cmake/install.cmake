# What `make install` puts where: library, headers, pkg-config file, CMake package, man page.
include(CMakePackageConfigHelpers)

set(PARA_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/paraattn)
install(TARGETS paraattn EXPORT paraattn LIBRARY ARCHIVE)
install(DIRECTORY include/paraattn TYPE INCLUDE)
install(DIRECTORY bench/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/paraattn)
install(FILES docs/para.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(EXPORT paraattn NAMESPACE paraattn:: FILE paraattn-targets.cmake DESTINATION ${PARA_CMAKE_DIR})

configure_package_config_file(cmake/paraattn-config.cmake.in ${CMAKE_BINARY_DIR}/paraattn-config.cmake
                              INSTALL_DESTINATION ${PARA_CMAKE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/paraattn-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/paraattn-config.cmake ${CMAKE_BINARY_DIR}/paraattn-config-version.cmake
        DESTINATION ${PARA_CMAKE_DIR})

# Paths relative to the .pc file itself, so that a moved or staged tree still works.
file(RELATIVE_PATH PARA_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/paraattn.pc.in ${CMAKE_BINARY_DIR}/paraattn.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/paraattn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

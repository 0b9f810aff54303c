# The MPI module: the one object that links MPI, loaded when a world asks for it. Without MPI the rest is built as it is.
option(PARA_MPI "Build the MPI module where MPI is found" ON)
set(PARA_MODULE_DIR ${CMAKE_INSTALL_LIBDIR}/paraattn)
set_source_files_properties(src/core/module.c PROPERTIES COMPILE_DEFINITIONS
                            PARA_MODULE_DIR="${CMAKE_INSTALL_FULL_LIBDIR}/paraattn")

if(PARA_MPI)
  find_package(MPI COMPONENTS C)
endif()
if(MPI_C_FOUND)
  file(GLOB PARA_MPI_SOURCES CONFIGURE_DEPENDS src/comm/mpi/*.c)
  add_library(paraattn-mpi MODULE ${PARA_MPI_SOURCES})
  set_target_properties(paraattn-mpi PROPERTIES PREFIX "")
  target_include_directories(paraattn-mpi PRIVATE include src)
  target_link_libraries(paraattn-mpi PRIVATE MPI::MPI_C)
  set(PARA_MPIRUN ${MPIEXEC_EXECUTABLE})
  foreach(folder ${MPI_C_INCLUDE_DIRS})
    string(APPEND PARA_MPI_FLAGS "-isystem ${folder} ")
  endforeach()
  # For tests, as Open MPI 4 and as Open MPI 5 call it: run as root, more processes than cores, none tied to a core, no ptrace, which containers forbid.
  set(PARA_MPI_ENVIRONMENT OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
      OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
      OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none
      OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_smsc=^cma)
  if(PARA_SANITIZE) # Open MPI's plug-ins have no frame pointers; tests/leaks-of-others knows what they leak by who called them
    list(APPEND PARA_MPI_ENVIRONMENT
         ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:strict_string_checks=1:fast_unwind_on_malloc=0)
  endif()
  install(TARGETS paraattn-mpi LIBRARY DESTINATION ${PARA_MODULE_DIR})
else()
  message(STATUS "No MPI: ranks are threads of one process; for mpirun install Open MPI (Debian: libopenmpi-dev openmpi-bin) and configure again")
endif()

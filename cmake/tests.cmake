# Every tests/<tier>/test_*.c is one CTest program; tests/<tier>/*.sh among those named below are tests, too.
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
add_library(para_static STATIC $<TARGET_OBJECTS:para_objects>)
target_include_directories(para_static PUBLIC include src)
target_link_libraries(para_static PUBLIC para_deps)
set_target_properties(para_static PROPERTIES LINKER_LANGUAGE C)

# The double-precision twins of the ops, for tests/ops and for benchmarks.
file(GLOB PARA_TWIN_SOURCES CONFIGURE_DEPENDS tests/ops/ops_*.c tests/ops/twin_*.c)
add_library(para_twins STATIC ${PARA_TWIN_SOURCES})
target_include_directories(para_twins PUBLIC tests)
target_link_libraries(para_twins PUBLIC para_static PkgConfig::CMOCKA)

file(GLOB PARA_TEST_SOURCES CONFIGURE_DEPENDS
     tests/unit/test_*.c tests/ops/test_*.c tests/golden/test_*.c tests/parallel/test_*.c tests/cli/test_*.c)
if(TARGET paraattn-cuda)
  file(GLOB PARA_GPU_TEST_SOURCES CONFIGURE_DEPENDS tests/gpu/test_*.c)
  list(APPEND PARA_TEST_SOURCES ${PARA_GPU_TEST_SOURCES})
endif()
foreach(source ${PARA_TEST_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  get_filename_component(tier ${source} DIRECTORY)
  get_filename_component(tier ${tier} NAME)
  add_executable(${name} ${source})
  target_compile_definitions(${name} PRIVATE PARA_SOURCE_DIR="${CMAKE_SOURCE_DIR}" PARA_BINARY_DIR="${CMAKE_BINARY_DIR}")
  target_include_directories(${name} PRIVATE tests)
  target_link_libraries(${name} PRIVATE para_static PkgConfig::CMOCKA)
  if(tier MATCHES "^(ops|gpu)$")
    target_link_libraries(${name} PRIVATE para_twins)
  endif()
  if(tier MATCHES "^(cli|golden|parallel)$")
    add_dependencies(${name} para)
  endif()
  # What `make check-gpu` runs; ranks share the GPU.
  if(TARGET paraattn-cuda AND (tier MATCHES "^(ops|gpu)$" OR
                               name MATCHES "^test_(flux|hunyuan_video|mochi|cogvideox)_golden$" OR
                               name MATCHES "^test_(flux|hunyuan|mochi|cogvideox|video)_ranks$" OR
                               name MATCHES "^test_(llama_golden|hunyuan_pipeline|cogvideox_pipeline|mochi_pipeline|video_vae|parallel_video_vae|tiny_flux|tiny_hunyuan_video|cache|parallel_pipeline|parallel_vae|video_vae_frames|frames_of_requests|cached_requests|many_exchanges)$"))
    add_dependencies(${name} paraattn-cuda)
    add_test(NAME gpu/${name} COMMAND ${name} CONFIGURATIONS gpu WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
    set_tests_properties(gpu/${name} PROPERTIES TIMEOUT 900 SKIP_RETURN_CODE 77 LABELS gpu ENVIRONMENT PARA_TEST_DEVICE=cuda)
  endif()
  if(name MATCHES "^test_mpi_" OR tier STREQUAL gpu)
    continue()
  endif()
  # Minutes under sanitizers, of what test_flux_golden and test_pipeline, or the other tests of the program, run there, too.
  if(PARA_SANITIZE AND name MATCHES "^test_(tiny_flux|help)$")
    continue()
  endif()
  add_test(NAME ${tier}/${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
  set_tests_properties(${tier}/${name} PROPERTIES TIMEOUT 900 SKIP_RETURN_CODE 77 LABELS ${tier}
    ENVIRONMENT "OMP_WAIT_POLICY=passive;XDG_CACHE_HOME=${CMAKE_BINARY_DIR}/cache") # waiting threads sleep: other programs run beside; rates of this machine choose no mesh
endforeach()
foreach(name test_video_file test_videos)
  target_compile_definitions(${name} PRIVATE PARA_MODULE_DIR="${CMAKE_INSTALL_FULL_LIBDIR}/paraattn")
  if(TARGET paraattn-video)
    target_compile_definitions(${name} PRIVATE PARA_VIDEO_MODULE)
    add_dependencies(${name} paraattn-video)
  endif()
endforeach()
# Fewer threads than asked for must not leave work undone.
add_test(NAME golden/thread_limit COMMAND test_flux_golden WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
set_tests_properties(golden/thread_limit PROPERTIES TIMEOUT 900 LABELS golden ENVIRONMENT "OMP_THREAD_LIMIT=1;OMP_WAIT_POLICY=passive")

# para with ranks that can be made to fail.
add_executable(para_failing ${PARA_CLI_SOURCES} tests/parallel/failing.c)
target_link_libraries(para_failing PRIVATE para_static PkgConfig::JANSSON)
add_dependencies(test_videos para_failing) # statically linked: it finds no module from another folder
target_link_options(para_failing PRIVATE -Wl,--wrap=para_group_check,--wrap=para_mpi_open,--wrap=para_world_open,--wrap=para_world_close)
add_executable(compare_tensors tests/parallel/compare_tensors.c)
target_link_libraries(compare_tensors PRIVATE para_static)
# What starts processes without MPI, with the variables that torchrun and others set.
add_executable(launch tests/parallel/launch.c)
add_dependencies(test_gathered_ranks launch)
# What tests/parallel/rehearsal.sh runs on two network namespaces.
add_executable(slow_link tests/parallel/slow_link.c)
add_executable(ring_overlap tests/parallel/ring_overlap.c)
target_link_libraries(ring_overlap PRIVATE para_static)
add_test(NAME parallel/failures COMMAND sh ${CMAKE_SOURCE_DIR}/tests/parallel/failures.sh WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(parallel/failures PROPERTIES TIMEOUT 1800 LABELS parallel PROCESSORS 2
  ENVIRONMENT "BUILD=${CMAKE_BINARY_DIR};MPIRUN=${PARA_MPIRUN};${PARA_MPI_ENVIRONMENT};ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_abort=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0") # some crash on purpose

if(TARGET test_cuda_processes)
  add_dependencies(test_cuda_processes launch)
  if(TARGET paraattn-nccl)
    add_dependencies(test_cuda_processes paraattn-nccl)
  endif()
endif()

# Programs that mpirun starts (too): name, number of processes. Those named test_mpi_* run no other way.
if(MPI_C_FOUND)
  foreach(run test_mpi_link:2 test_mpi_link:3 test_mpi_world:3 test_mpi_pipeline:3 test_gathered_ranks:2 test_attention_modes:3 test_attention_modes:4)
    string(REGEX MATCH "^(.*):(.*)$" matched ${run})
    if(PARA_SANITIZE AND run STREQUAL test_mpi_pipeline:3) # two minutes there, of what processes without MPI run there, too
      continue()
    endif()
    set(name ${CMAKE_MATCH_1})
    set(check parallel/${name}_n${CMAKE_MATCH_2})
    add_test(NAME ${check} COMMAND ${PARA_MPIRUN} -n ${CMAKE_MATCH_2} $<TARGET_FILE:${name}>
             WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
    set_tests_properties(${check} PROPERTIES TIMEOUT 300 LABELS parallel ENVIRONMENT "OMP_WAIT_POLICY=passive;${PARA_MPI_ENVIRONMENT}")
    add_dependencies(${name} paraattn-mpi)
  endforeach()
endif()

target_link_options(test_mpi_lane PRIVATE -Wl,--wrap=para_nccl_load)
target_link_options(test_gathered_ranks PRIVATE -Wl,--wrap=para_device_open)
foreach(run test_mpi_link:2 test_mpi_link:3 test_mpi_lane:2 test_mpi_lane:3 test_mpi_world:3 test_mpi_pipeline:3)
  string(REGEX MATCH "^(.*):(.*)$" matched ${run})
  set(name ${CMAKE_MATCH_1})
  set(check parallel/${name}_tcp${CMAKE_MATCH_2})
  add_test(NAME ${check} COMMAND launch -n ${CMAKE_MATCH_2} $<TARGET_FILE:${name}> WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
  set_tests_properties(${check} PROPERTIES TIMEOUT 300 LABELS parallel ENVIRONMENT OMP_WAIT_POLICY=passive)
endforeach()

if(NOT PARA_SANITIZE)
  add_test(NAME cli/launcher COMMAND sh ${CMAKE_SOURCE_DIR}/tests/cli/launcher.sh WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  add_test(NAME cli/launched COMMAND sh ${CMAKE_SOURCE_DIR}/tests/cli/mpirun.sh WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(cli/launcher cli/launched PROPERTIES TIMEOUT 600 LABELS cli ENVIRONMENT "BUILD=${CMAKE_BINARY_DIR};MPIRUN=$<TARGET_FILE:launch>")
endif()

# Where one build tells all and the sanitizers have nothing to add: two hosts; the tree, and what is installed of it.
if(NOT PARA_SANITIZE)
  add_test(NAME parallel/rehearsal COMMAND sh ${CMAKE_SOURCE_DIR}/tests/parallel/rehearsal.sh WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(parallel/rehearsal PROPERTIES TIMEOUT 900 SKIP_RETURN_CODE 77 LABELS parallel PROCESSORS 2 ENVIRONMENT "BUILD=${CMAKE_BINARY_DIR}")
endif()
if(MPI_C_FOUND AND NOT PARA_SANITIZE)
  add_test(NAME parallel/two_hosts COMMAND sh ${CMAKE_SOURCE_DIR}/tests/parallel/two_hosts.sh WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(parallel/two_hosts PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77 LABELS parallel
    ENVIRONMENT "BUILD=${CMAKE_BINARY_DIR};MPIRUN=${PARA_MPIRUN};OMP_WAIT_POLICY=passive;${PARA_MPI_ENVIRONMENT}")
  add_test(NAME cli/mpirun COMMAND sh ${CMAKE_SOURCE_DIR}/tests/cli/mpirun.sh WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(cli/mpirun PROPERTIES TIMEOUT 600 LABELS cli
    ENVIRONMENT "BUILD=${CMAKE_BINARY_DIR};MPIRUN=${PARA_MPIRUN};${PARA_MPI_ENVIRONMENT}")
endif()
if(TARGET paraattn-cuda)
  add_test(NAME gpu/sanitizers COMMAND sh ${CMAKE_SOURCE_DIR}/tests/gpu/sanitizers.sh CONFIGURATIONS gpu)
  set_tests_properties(gpu/sanitizers PROPERTIES TIMEOUT 7200 SKIP_RETURN_CODE 77 LABELS gpu ENVIRONMENT BUILD=${CMAKE_BINARY_DIR})
  set_tests_properties(gpu/sanitizers gpu/test_cuda_memory_end PROPERTIES RUN_SERIAL TRUE) # the latter takes all of the GPU's memory
endif()
if(NOT PARA_SANITIZE)
  find_program(CXX_COMPILER NAMES c++ g++ clang++ REQUIRED)
  add_test(NAME headers/cuda COMMAND sh ${CMAKE_SOURCE_DIR}/tests/headers/cuda.sh)
  set_tests_properties(headers/cuda PROPERTIES TIMEOUT 1800 LABELS headers PROCESSORS 2)
  foreach(check unit/count_results headers/public headers/internal headers/clang headers/layering headers/layering_catches
                install/consumer install/symbols install/man_page)
    get_filename_component(tier ${check} DIRECTORY)
    add_test(NAME ${check} COMMAND sh ${CMAKE_SOURCE_DIR}/tests/${check}.sh WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${check} PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77 LABELS ${tier}
      ENVIRONMENT "CC=${CMAKE_C_COMPILER};CXX=${CXX_COMPILER};CMAKE=${CMAKE_COMMAND};BUILD=${CMAKE_BINARY_DIR};DNNL_INCLUDE_DIR=${DNNL_INCLUDE_DIR};MPI_FLAGS=${PARA_MPI_FLAGS};CUDA_FLAGS=${PARA_CUDA_FLAGS};NCCL_FLAGS=${PARA_NCCL_FLAGS};MPIRUN=${PARA_MPIRUN};${PARA_MPI_ENVIRONMENT}")
  endforeach()
endif()

# The loops of src/backend/cpu/simd are compiled once per instruction set; simd_select.c picks one at run time.
# Each copy is a generated file of one line, so that it can have flags of its own.
file(GLOB PARA_SIMD_SOURCES CONFIGURE_DEPENDS src/backend/cpu/simd/*.c)

function(para_simd isa)
  foreach(source ${PARA_SIMD_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    set(copy ${PROJECT_BINARY_DIR}/simd/${name}_${isa}.c)
    file(CONFIGURE OUTPUT ${copy} CONTENT "#include \"${source}\"\n")
    set_source_files_properties(${copy} PROPERTIES COMPILE_DEFINITIONS PARA_SIMD_ISA=${isa}
                                COMPILE_OPTIONS "-ffp-contract=fast;-Wno-psabi;${ARGN}" OBJECT_DEPENDS ${source})
    list(APPEND copies ${copy})
  endforeach()
  set(PARA_SOURCES ${PARA_SOURCES} ${copies} PARENT_SCOPE)
endfunction()

if(PARA_SANITIZE OR PARA_TSAN)
  set(PARA_SIMD_FLAGS -O2 -fno-var-tracking) # where the rest is compiled with less, these loops would be most of the tests' time
endif()
para_simd(base ${PARA_SIMD_FLAGS})
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  para_simd(avx2 ${PARA_SIMD_FLAGS} -march=x86-64-v3)
  para_simd(avx512 ${PARA_SIMD_FLAGS} -march=x86-64-v4)
  set_source_files_properties(src/backend/cpu/simd_select.c PROPERTIES COMPILE_DEFINITIONS PARA_SIMD_X86)
endif()

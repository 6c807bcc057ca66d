# LibTorch from the PyPI wheel of torch, without find_package(Torch), whose CUDA probing fails with CUDA 13 on
# CMake 3.25. Set TRACEWISE_TORCH_ROOT to the wheel's `torch` folder. Target: LibTorch::LibTorch.
# With TRACEWISE_CUDA the CUDA half of the wheel and cudart are linked too; our own code compiles the same. To
# run it the wheel needs its CUDA packages beside it (scripts/make_venv FOLDER cuda), not to link it.
set(TRACEWISE_TORCH_ROOT "" CACHE PATH "the `torch` folder of the torch wheel")
if(NOT TRACEWISE_TORCH_ROOT)
  file(GLOB _torch_roots "${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch")
  if(_torch_roots)
    list(GET _torch_roots 0 TRACEWISE_TORCH_ROOT)
  endif()
endif()

find_path(LibTorch_INCLUDE_DIR ATen/ATen.h PATHS "${TRACEWISE_TORCH_ROOT}/include" NO_DEFAULT_PATH)
find_library(LibTorch_C10 c10 PATHS "${TRACEWISE_TORCH_ROOT}/lib" NO_DEFAULT_PATH)
find_library(LibTorch_CPU torch_cpu PATHS "${TRACEWISE_TORCH_ROOT}/lib" NO_DEFAULT_PATH)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_INCLUDE_DIR LibTorch_C10 LibTorch_CPU
  REASON_FAILURE_MESSAGE "run ./tracewise once: it puts the torch wheel into .venv")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  get_filename_component(_torch_lib "${LibTorch_C10}" DIRECTORY)
  get_filename_component(_site "${TRACEWISE_TORCH_ROOT}" DIRECTORY)
  # libtorch_cpu.so of the CUDA wheel needs cudart and cupti even when no GPU is used.
  file(GLOB _nvidia_libs LIST_DIRECTORIES true "${_site}/nvidia/*/lib")
  string(REPLACE ";" ":" _nvidia_path "${_nvidia_libs}")

  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  set_target_properties(LibTorch::LibTorch PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES
      "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include")
  target_link_options(LibTorch::LibTorch INTERFACE
    "-Wl,--no-as-needed" "-Wl,-rpath,${_torch_lib}" "-Wl,-rpath-link,${_torch_lib}:${_nvidia_path}")
  foreach(_dir IN LISTS _nvidia_libs)
    target_link_options(LibTorch::LibTorch INTERFACE "-Wl,-rpath,${_dir}")
  endforeach()
  target_link_libraries(LibTorch::LibTorch INTERFACE "${LibTorch_CPU}" "${LibTorch_C10}")
  # at::parallel_for is a template: without OpenMP in our own files it runs on one thread. At run time the
  # wheel's libgomp is the one that is found, so there is one pool of threads.
  target_compile_options(LibTorch::LibTorch INTERFACE -fopenmp)
  target_link_options(LibTorch::LibTorch INTERFACE -fopenmp)
  if(TRACEWISE_CUDA)
    find_package(CUDAToolkit REQUIRED)
    find_library(LibTorch_C10_CUDA c10_cuda PATHS "${_torch_lib}" NO_DEFAULT_PATH REQUIRED)
    find_library(LibTorch_CUDA torch_cuda PATHS "${_torch_lib}" NO_DEFAULT_PATH REQUIRED)
    target_link_options(LibTorch::LibTorch INTERFACE "-Wl,--allow-shlib-undefined")
    target_link_libraries(LibTorch::LibTorch INTERFACE "${LibTorch_CUDA}" "${LibTorch_C10_CUDA}" CUDA::cudart)
  endif()
endif()

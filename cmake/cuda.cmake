# The CUDA module: the one object that links CUDA, loaded when a GPU is asked for. Without nvcc the rest is built as it is.
option(PARA_CUDA "Build the CUDA module where nvcc is found" ON)

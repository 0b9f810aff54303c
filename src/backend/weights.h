/* The weights table of a model: which tensors it wants, where they go. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_BACKEND_WEIGHTS_H
#define PARA_BACKEND_WEIGHTS_H

#include "backend/host_blocks.h"
#include "io/checkpoint.h"

/* A list of wanted tensors. Adding never fails; the first failure (memory) comes out of load or count. */
typedef struct para_weights para_weights;

para_status para_weights_open(para_weights **out);
void para_weights_close(para_weights **w); /* frees what load put on the device, too: close before the device */

/* Wants "<name>.weight" [n, k] and, with `bias`, "<name>.bias" [n]. Name: printf format. */
void para_weights_linear(para_weights *w, para_linear *out, int64_t n, int64_t k, bool bias, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* Wants "<name>.weight" [o, i, kh, kw] and "<name>.bias" [o]. */
void para_weights_conv2d(para_weights *w, para_linear *out, int64_t o, int64_t i, int64_t kh, int64_t kw, const char *format, ...)
    __attribute__((format(printf, 7, 8)));
/* Wants "<name>.weight" [o, i, kt, kh, kw] and "<name>.bias" [o]. */
void para_weights_conv3d(para_weights *w, para_linear *out, int64_t o, int64_t i, int64_t kt, int64_t kh, int64_t kw, const char *format, ...)
    __attribute__((format(printf, 8, 9)));
/* Wants "<name>.weight" [n, c, t, h, w] and "<name>.bias" [n] of a convolution whose stride is its kernel, as the linear layer [n, c · t · h · w] on its patches. */
void para_weights_patches(para_weights *w, para_linear *out, int64_t n, int64_t c, int64_t t, int64_t h, int64_t width, const char *format, ...)
    __attribute__((format(printf, 8, 9)));
/* Wants the tensor "<name>" [n], as F32 on the device. */
void para_weights_vector(para_weights *w, para_tensor *out, int64_t n, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Wants the tensor "<name>" of `rank` sizes, as F32 on the device. */
void para_weights_values(para_weights *w, para_tensor *out, int rank, const int64_t *dim, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Wants the tensor "<name>" [n, k] in the file's type. */
void para_weights_matrix(para_weights *w, para_tensor *out, int64_t n, int64_t k, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* Wants the tensor "<name>" of `rank` sizes in the file's type. */
void para_weights_tensor(para_weights *w, para_tensor *out, int rank, const int64_t *dim, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The `count` linear layers wanted last, of the same input and all with a bias or all without, as one: on a device that joins, where they come to lie
 * one after the other, *joined is that layer, [N of all, K]; else its weight is none. */
void para_weights_join(para_weights *w, para_linear *joined, int count);

/* What is wanted from here on belongs to the model's block i, 0 or more; to none with PARA_NO_BLOCK, as in the beginning. */
enum { PARA_NO_BLOCK = -1 };
void para_weights_block(para_weights *w, int i);
/* This layer does not, though it was wanted there: others than the block use it. */
void para_weights_stays(para_weights *w, const para_linear *layer);

/* Before loading: matrices of blocks stay in pinned host memory and take turns in `slots` places on a device with copies, but for `kept` blocks, spread
 * evenly, which are on the device as everything is with slots 0. */
void para_weights_offload(para_weights *w, int kept, int slots);
int para_weights_blocks(const para_weights *w); /* of the model, 0 to the last one that was listed */

/* Several ranks of a process that load the same onto devices with memory of their own: one reads the files and passes on what it has read, the others take it. */
typedef struct para_weights_sharing {
    /* What is offloaded, where anything is: *blocks is the reader's, filled; each that takes them gets them and is a holder. NULL, as `pass`: each reads by itself. */
    para_status (*pass_host)(void *user, para_host_blocks **blocks);
    para_status (*pass)(void *user, para_tensor block); /* then the device's block, [bytes] U8: filled, or to be filled */
    void *user;
    bool takes; /* this one does not read */
} para_weights_sharing;
/* Before loading; the ranks' lists, files, types and what they offload must be the same. */
void para_weights_share(para_weights *w, para_weights_sharing sharing);

/* Around the ops that use a block's weights, where they are offloaded; nothing to do elsewhere. The next blocks are on their way meanwhile. */
para_status para_weights_enter(para_weights *w, int block);
para_status para_weights_leave(para_weights *w, int block);
bool para_weights_offloaded(const para_weights *w);

/* Finds every wanted tensor in the checkpoint, checks its shape and type and fills the views. CPU: they point into the
 * mapped files (vectors that are not F32 are converted). Dry: sizes only, no data is touched; with `checkpoint`
 * NULL every tensor counts as `assumed`. Other devices: everything is read into one block of theirs, in pieces, after each of which the device's on_load is told and its check asked.
 * The checkpoint must stay open as long as the views are used. Errors: PARA_ERR_NOT_FOUND, PARA_ERR_SHAPE (also a type that is no float), PARA_ERR_CONFIG
 * (a size below 1), PARA_ERR_ARGUMENT, PARA_ERR_MEMORY, PARA_ERR_IO, PARA_ERR_CANCELLED, naming file and tensor. */
para_status para_weights_load(para_weights *w, para_device *dev, const para_checkpoint *checkpoint, para_dtype assumed);
/* The same from no checkpoint, for measuring: matrices and biases normal with standard deviation 0.02, scales of norms about 1, all of `type`; the same
 * at each call. On a CPU tensors share their values with each other. PARA_ERR_CONFIG, PARA_ERR_MEMORY. */
para_status para_weights_load_random(para_weights *w, para_device *dev, para_dtype type);
/* Gives back what load took; the views are not to be used until the next load. */
void para_weights_unload(para_weights *w);

/* Wanted elements, and their bytes in the files' types (valid after load). */
int64_t para_weights_parameters(const para_weights *w);
int64_t para_weights_bytes(const para_weights *w);
/* Bytes that a load takes of a device with memory of its own, and of pinned host memory (valid after load, on a dry device, too). */
int64_t para_weights_device_bytes(const para_weights *w);
int64_t para_weights_pinned_bytes(const para_weights *w);
int64_t para_weights_slot_bytes(const para_weights *w); /* of the device's: where blocks take turns */
/* Type of the first matrix (after load); PARA_DTYPE_NONE where there is none. */
para_dtype para_weights_dtype(const para_weights *w);

#endif

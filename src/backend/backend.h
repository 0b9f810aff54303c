/* The op table: what a device can compute, at the grain of a diffusion transformer.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every op works on views of device memory, on the device's current stream; none allocates outside the arena and none
 * waits, but those that say so. Activations are PARA_F32 or PARA_BF16 (one type per call), computed in float32 inside;
 * vectors (biases, norm scales, modulation, RoPE tables) are PARA_F32. Matrices may have any float type; they are used
 * in the type of the activations. "none" means a tensor whose data is NULL. Rows may be strided, the last
 * dimension is contiguous unless said otherwise. Shapes are checked by the models when a config is read; ops only
 * check what would make them read or write out of bounds.
 */
#ifndef PARA_BACKEND_H
#define PARA_BACKEND_H

#include <paraattn/attention.h>
#ifndef __cplusplus
#include <stdatomic.h>
#endif

#include "core/arena.h"
#include "core/trace.h"

typedef struct para_device para_device;

typedef enum para_activation {
    PARA_ACT_NONE,
    PARA_ACT_SILU,
    PARA_ACT_GELU_TANH,  /* torch gelu(approximate="tanh"), "gelu_new", "gelu_pytorch_tanh" */
    PARA_ACT_GELU_ERF,   /* torch gelu() */
    PARA_ACT_QUICK_GELU, /* x · sigmoid(1.702 x) */
    PARA_ACT_RELU,
    PARA_ACT_TANH,
} para_activation;

typedef enum para_norm_kind { PARA_NORM_LAYER, PARA_NORM_RMS } para_norm_kind;

/* A linear or convolution layer as its checkpoint holds it. */
typedef struct para_linear {
    para_tensor weight; /* linear [N, K], rows may be strided; conv2d [O, I, kh, kw]; conv3d [O, I, kt, kh, kw] */
    para_tensor bias;   /* [N] F32, or none */
} para_linear;

/* y = activation(x · weightᵀ + bias), or y += that. */
typedef struct para_linear_args {
    para_tensor x;              /* [M, K] */
    const para_linear *w;       /* [N, K], [N] */
    para_tensor y;              /* [M, N] */
    para_activation activation; /* applied before accumulation */
    bool accumulate;            /* add to y */
} para_linear_args;

/* y = norm(x) · weight + bias, then · (1 + scale) + shift. */
typedef struct para_norm_args {
    para_norm_kind kind;
    float eps;
    para_tensor x;            /* [M, D] */
    para_tensor weight, bias; /* [D] F32, or none */
    para_tensor scale, shift; /* [D] F32, or none */
    para_tensor y;            /* [M, D] */
} para_norm_args;

/* x += gate · y, or gate · rms norm of y, then norm->y = norm(x) in the same pass when norm is given (norm->x is ignored). */
typedef struct para_residual_args {
    para_tensor x;              /* [M, D], in and out */
    para_tensor gate;           /* [D] F32, or none for 1 */
    para_tensor y;              /* [M, D] */
    bool rms_norm;              /* y / √(mean y² + eps) in the place of y, not rounded between */
    float eps;                  /* of that */
    const para_norm_args *norm; /* or NULL */
} para_residual_args;

/* y[h, s, :] = rope(norm(x[s, h, :])) of an operand of attention: norm over the head dim, rotary embedding, head layout. It turns by tables that all heads share, or by
 * positions and each head's own frequencies, whose tables would be larger than x. */
typedef struct para_head_args {
    para_tensor x;         /* [S, H, D], any strides but the last */
    bool layer_norm;       /* the norm is LayerNorm; else RMS norm */
    para_tensor weight;    /* [D] F32, or none: no norm */
    para_tensor bias;      /* [D] F32, of the norm; or none */
    float eps;
    para_tensor cos, sin;  /* [S, D] F32, or none */
    para_tensor positions, frequencies; /* [S, 3] and [3, H, D/2] F32, in the place of cos and sin: pair i of head h turns by the angle
                                         * Σ positions[s, a] · frequencies[a, h, i], summed in float32 from a = 0 on with fused products; or none */
    bool rope_interleaved; /* pairs (2i, 2i+1) as FLUX; else (i, i + D/2) as Llama */
    para_tensor y;         /* [H, S, D], any strides but the last; may be x's own elements */
    int parts;             /* where heads go to several places: y is not used (0) */
    const para_tensor *part; /* [parts], each [its heads, S, D], any strides but the last, alike in all unless S is 0, all heads in order; of this device, or of one that it reaches */
} para_head_args;

/* The attention over two sets of keys from the results over each: out, lse ← both. Exact where a side has attended nothing (LSE -inf). */
typedef struct para_merge_args {
    para_tensor out, lse;           /* [B, H, Sq, Dv] F32, any strides but the last; [B, H, Sq] F32; in and out */
    para_tensor part_out, part_lse; /* the same sizes and types */
} para_merge_args;

/* What a column of a mask does to the scores of its key. */
typedef enum para_mask_column {
    PARA_COLUMN_HIDES,   /* no query of any head sees the key: false, or -inf, everywhere */
    PARA_COLUMN_CHANGES, /* for some */
    PARA_COLUMN_PASSES,  /* nothing: true, or 0, everywhere */
} para_mask_column;

/* Zero-padded cross-correlation, channels last. */
typedef struct para_conv2d_args {
    para_tensor x;        /* [N, H, W, I] contiguous */
    const para_linear *w; /* [O, I, kh, kw], [O] */
    int stride;
    int pad_top, pad_left, pad_bottom, pad_right;
    para_tensor y;        /* [N, OH, OW, O] contiguous */
} para_conv2d_args;

/* Cross-correlation in time and space, channels last. Before the first frame lie the frames `before`, or that frame again and again; beyond a frame's
 * edges its nearest pixel (replicate) or 0. */
typedef struct para_conv3d_args {
    para_tensor x;        /* [N, F, H, W, I] contiguous */
    int64_t grown[3];     /* F, H, W that x is enlarged to first, as para_nearest_frame and nearest say; 0: as it is */
    para_tensor before;   /* [N, kt - 1, H, W, I] contiguous, as large as x is then, or none */
    const para_linear *w; /* [O, I, kt, kh, kw], [O] */
    int stride_t, stride; /* in time, in space */
    int pad_h, pad_w;     /* on either side */
    bool replicate;
    para_tensor y;        /* [N, OF, OH, OW, O] contiguous: OF = (F - 1) / stride_t + 1, OH = (H + 2 pad_h - kh) / stride + 1; no part of x */
} para_conv3d_args;

/* y = activation(group norm of x · scale + shift), statistics over F, H, W and the group's channels. y may be x. */
typedef struct para_group_norm_args {
    para_tensor x;            /* [N, H, W, C] or [N, F, H, W, C] contiguous */
    int groups;
    float eps;
    para_tensor weight, bias; /* [C] F32 */
    para_tensor scale, shift; /* [N, f, h, w, C] contiguous, in x's type, or none: enlarged to x, as para_nearest_frame and nearest say */
    para_activation activation;
    para_tensor y;            /* as x */
} para_group_norm_args;

/* Ops that were kept, to be carried out again. */
typedef struct para_recording para_recording;
/* A point in what a device was told to do. */
typedef struct para_mark para_mark;

/* dst[i] ← src[i], of another device of the process; same sizes and type, any strides. */
typedef struct para_fetch_args {
    int count;
    const para_tensor *dst, *src; /* [count] */
    const para_mark *filled;      /* when all src hold what is fetched */
    const para_mark *free;        /* when all dst may be overwritten */
    para_mark **arrived;          /* out: when all dst hold it; the caller's */
    para_mark **taken;            /* out: the same, for the owner of src to close */
} para_fetch_args;

/* Memory of a device of its own, in bytes. */
typedef struct para_device_memory {
    int64_t total;     /* that it has; with a limit, no more than that */
    int64_t taken;     /* that alloc has given out */
    int64_t available; /* that alloc can still give out: what others hold and what libraries are still to take is none of it */
} para_device_memory;

/* Copies to the device that go on beside the ops, each in a numbered place ("slot"). */
enum { PARA_COPY_SLOTS = 16 };
typedef struct para_copies {
    para_status (*pin)(para_device *dev, size_t bytes, void **out); /* host memory that the device reads by itself. PARA_ERR_MEMORY */
    void (*unpin)(para_device *dev, void *p);                       /* waits for copies from it; takes NULL */
    para_status (*begin)(para_device *dev, int slot, void *dst, const void *pinned, size_t bytes); /* after the ops before the slot's last `used` */
    para_status (*arrived)(para_device *dev, int slot); /* ops from now on come after the slot's copies so far */
    para_status (*used)(para_device *dev, int slot);    /* copies into the slot from now on come after the ops so far */
    para_status (*done)(para_device *dev, int slot);    /* the host waits for the slot's copies */
} para_copies;

typedef struct para_ops {
    const char *name; /* "cpu", "cuda", "dry" */
    void (*close)(para_device *dev);

    /* Memory. alloc is for what outlives a request (weights); all else comes from the arena. */
    para_status (*alloc)(para_device *dev, size_t bytes, void **out);
    void (*free)(para_device *dev, void *p);
    para_status (*upload)(para_device *dev, para_tensor dst, const void *src);   /* host (contiguous) → contiguous dst; src may be reused at return */
    para_status (*download)(para_device *dev, void *dst, const para_tensor *src); /* contiguous src → host; waits */
    para_status (*constant)(para_device *dev, para_tensor vector); /* [N] F32 stays as it is until its memory is freed: what the device makes of it is kept; may wait. NULL: it makes nothing */
    para_status (*memory)(para_device *dev, para_device_memory *out); /* NULL: it uses the host's */
    const para_copies *copies;                                        /* NULL: it has none */
    para_status (*copy)(para_device *dev, para_tensor dst, para_tensor src);     /* same sizes, any strides, converts float types; no overlap */

    /* Dense layers. */
    para_status (*linear)(para_device *dev, const para_linear_args *a);
    para_status (*conv2d)(para_device *dev, const para_conv2d_args *a);
    para_status (*conv3d)(para_device *dev, const para_conv3d_args *a);
    para_status (*embedding)(para_device *dev, para_tensor table, para_tensor ids, para_tensor y); /* [V, D] any float type, [M] I32, [M, D] */

    /* Norms and what goes with them. */
    para_status (*norm)(para_device *dev, const para_norm_args *a);
    para_status (*residual)(para_device *dev, const para_residual_args *a);
    para_status (*group_norm)(para_device *dev, const para_group_norm_args *a);

    /* Attention. */
    para_status (*heads)(para_device *dev, int n, const para_head_args *a); /* [n], n ≤ PARA_OPERANDS: queries, keys, values, none in the place of another; as one where their sizes and strides are alike */
    para_status (*attention)(para_device *dev, const para_attention_args *a); /* mask [B, H, Sq, Skv], 0 strides broadcast; scale a number */
    para_status (*attention_parts)(para_device *dev, int parts, const para_attention_args *a); /* [parts]: attention of ranges of queries over the same k and v, each with its own out, which may be another device's; as one */
    para_status (*attention_merge)(para_device *dev, const para_merge_args *a);

    /* Elementwise; x and y may be the same view. */
    para_status (*activate)(para_device *dev, para_activation f, para_tensor x, para_tensor y);            /* y = f(x), same shape */
    para_status (*gated)(para_device *dev, para_activation f, para_tensor a, para_tensor b, para_tensor y); /* y = f(a) · b, [M, N] */
    para_status (*combine)(para_device *dev, para_tensor y, int n, const para_tensor *x, const float *c);   /* y = Σ c[i] x[i], n ≤ 4, contiguous, mixed float types */
    para_status (*change)(para_device *dev, para_tensor before, para_tensor now, para_tensor sums);        /* sums [2] F32 = Σ |before − now|, Σ |before|; contiguous; in one order, whatever the threads */

    /* Pictures, channels last. */
    para_status (*upsample2x)(para_device *dev, para_tensor x, para_tensor y);                              /* nearest: [N, H, W, C] → [N, 2H, 2W, C] */
    para_status (*blend)(para_device *dev, para_tensor edge, para_tensor dst, int axis);                     /* dst[i] = edge[i]·(1 - i/n) + dst[i]·(i/n) along axis, n = dim[axis]; any strides */

    /* What the host reads. */
    para_status (*all_finite)(para_device *dev, para_tensor x, bool *out); /* contiguous; waits */
    para_status (*mask_columns)(para_device *dev, para_tensor mask, uint8_t *out); /* [B, H, Sq, keys] BOOL or F32 → para_mask_column [B · keys]; waits */

    /* Ops carried out again with the same arguments and none of the host's work; all four NULL where a device cannot. */
    /* From here on ops are kept instead; those that wait, or meet a shape for the first time, fail. `joined`: so are those of other devices of the process from
     * where they come after one of this device's marks; before the end this one must come after a mark of each. Nobody tells two of them anything at once. */
    para_status (*record)(para_device *dev, bool joined);
    para_status (*record_end)(para_device *dev, para_recording **out);  /* out NULL: forgets them */
    para_status (*play)(para_device *dev, const para_recording *recording);
    void (*recording_close)(para_device *dev, para_recording **recording); /* sets it to NULL; takes NULL in it */

    /* When ops run, and what they belong to. */
    para_status (*stamp)(para_device *dev, int i);                                 /* the i-th moment, from 0: here. NULL, both: ops are done when they return */
    para_status (*stamp_seconds)(para_device *dev, int from, int to, double *out); /* between two moments; waits */
    void (*range)(para_device *dev, const char *name); /* from here on ops belong to `name`, for profilers; NULL: the innermost range ends. NULL: nobody looks */

    /* Between devices; all seven NULL where ops are done when they return. */
    para_status (*reach)(para_device *dev, const para_device *other);  /* from now on fetch of `dev` reads the memory of `other`. PARA_ERR_DEVICE where it cannot */
    para_status (*fetch)(para_device *dev, const para_fetch_args *a);  /* copies beside what `dev` computes: whoever needs the result asks for a mark */
    para_status (*mark)(para_device *dev, para_mark **out);            /* here: all that it was told so far */
    para_status (*after)(para_device *dev, const para_mark *mark);     /* what it is told from now on begins when all before the mark is done; of any device */
    void (*mark_close)(para_device *dev, para_mark **mark);            /* sets it to NULL; takes NULL in it; of any device */
    /* A stream of its own on which a library moves data to and from devices of other processes: what it is told from now on begins after the mark. And where
     * it stands now. */
    para_status (*lane)(para_device *dev, const para_mark *after, void **stream);
    para_status (*lane_mark)(para_device *dev, para_mark **out);
} para_ops;

/* A rank's device. The owner is one host thread; ops are called from it only. */
struct para_device {
    const para_ops *ops;
    para_arena arena;
    char name[64];           /* "NVIDIA H200"; "" for the CPU */
    int threads;             /* host threads of this rank (cpu) */
    int64_t memory_limit;    /* bytes that it may take of memory of its own, libraries included; 0: what there is */
    bool joins;              /* one product of joined weights is faster than each by itself */
    bool copies_beside;      /* fetch copies beside its ops, so that what is made meanwhile hides it */
    bool tunes;              /* ops may spend seconds on a shape that they meet for the first time, to find what is fastest */
    const para_trace *trace; /* or NULL */
    struct para_profile *profile; /* profile.h: while one is open; or NULL */
    struct para_turns *turns;     /* turns.h: while it takes turns with other devices; or NULL */
    para_status (*check)(void *user); /* called between ops: a failure ends the request; or NULL */
    void *check_user;        /* of check */
    void (*on_load)(void *user, int64_t bytes); /* told of so many more bytes of weights that were read for it; or NULL */
    void *load_user;         /* of on_load */
    void (*note)(void *user, para_log_level level, const char *line); /* hears of what takes long, or goes wrong without failing; or NULL */
    void *note_user;         /* of note */
    para_attention_kernel attention; /* whose kernel computes attention that has no mask (PARA_ATTENTION_AUTO) */
    void *impl;              /* the back end's own state */
};

/* Opens a CPU device that uses `threads` host threads (≥ 1). No arena: see para_device_reserve. */
para_status para_cpu_open(para_device **out, int threads);
/* Opens the index-th GPU of this machine by the module paraattn-cuda.so. PARA_ERR_LIBRARY (no module), PARA_ERR_DEVICE (no driver, no GPU, no such
 * index, or a compute capability below 8.0), PARA_ERR_MEMORY. */
para_status para_cuda_open(para_device **out, int index);
/* GPUs that this process sees; 0 without the module or a driver. */
int para_cuda_count(void);
/* Either of them: the GPU of an index, or the CPU with `threads`. PARA_ERR_DEVICE for another kind. */
para_status para_device_open(para_device_kind kind, int index, int threads, para_device **out);
/* Opens a device that computes nothing and counts. Its arena has no limit. Its ops take of it what those of the CPU take, or of the kind given here. */
para_status para_dry_open(para_device **out);
void para_dry_stand_for(para_device *dry, para_device_kind kind);
/* Closes; takes NULL. */
void para_device_close(para_device **dev);

/* For profilers: from here on ops belong to `name`; NULL: the innermost range ends. */
static inline void para_device_range(para_device *dev, const char *name) {
    if (dev->ops->range) dev->ops->range(dev, name);
}

/* Asks the device's check, if there is one. Called between ops that take long. */
para_status para_device_check(const para_device *dev);

/* Hands a line (printf format) to the device's note, if there is one. */
void para_device_note(const para_device *dev, para_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Gives the device an empty arena of at least `bytes`, keeping the old one where it suffices. */
para_status para_device_reserve(para_device *dev, size_t bytes);
/* Gives the arena's memory back to the device. */
void para_device_drop_arena(para_device *dev);
/* Empties the arena and says whether it takes more from the device where it is full. One that grew before gets at once what it needed then. */
para_status para_device_let_grow(para_device *dev, bool grow);

/* A contiguous tensor from the arena, not zeroed. Sizes: rank of them, outermost first. */
para_status para_new(para_device *dev, para_tensor *out, para_dtype dtype, int rank, const int64_t *dim);
#define PARA_NEW(dev, out, dtype, ...)                                                             \
    para_new(dev, out, dtype, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

/* Hands a stage's result to the device's trace, if there is one. printf format for the name. */
para_status para_trace_stage(para_device *dev, const para_tensor *t, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The frame of `from` that frame t of `to` comes from where a video is enlarged, nearest: with an odd number of frames the first stays by itself, as the
 * causal VAEs have it. */
static inline int64_t para_nearest_frame(int64_t t, int64_t from, int64_t to) {
    bool alone = to > 1 && to % 2 == 1;
    return t == 0 || from == 1 ? 0 : alone ? 1 + (t - 1) * (from - 1) / (to - 1) : t * from / to;
}

/* Rows [first, first + count) of the first dimension. */
para_tensor para_rows(para_tensor t, int64_t first, int64_t count);
/* Indices [first, first + count) of dimension `axis`. */
para_tensor para_slice(para_tensor t, int axis, int64_t first, int64_t count);
/* The same elements of a contiguous tensor under another shape. */
para_tensor para_reshape(para_tensor t, int rank, const int64_t *dim);
#define PARA_RESHAPE(t, ...)                                                                       \
    para_reshape(t, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
/* Dimension i of the result is dimension order[i] of t. */
para_tensor para_permute(para_tensor t, const int *order);
#define PARA_PERMUTE(t, ...) para_permute(t, (int[]){__VA_ARGS__})

#endif

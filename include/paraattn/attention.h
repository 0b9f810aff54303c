/* Attention, and how it is carried out over ranks. Part of libparaattn; SPDX-License-Identifier: Apache-2.0
 *
 * A model calls para_attention() on the tokens that its rank holds. How it is carried out is up to the modes on the rank's stack:
 *
 *     static para_status body(para_rank *rank, void *user) {
 *         para_attention_push(rank, para_unified_mode(rank, mesh, layout));
 *         para_status status = my_forward(rank, user);    calls para_attention(rank, &args)
 *         para_attention_pop(rank);
 *         return status;
 *     }
 *
 * Sources: Ulysses arXiv:2309.14509, Ring arXiv:2310.01889, Unified arXiv:2405.07719; ParaAttention's para_attn_interface.
 */
#ifndef PARAATTN_ATTENTION_H
#define PARAATTN_ATTENTION_H

#include "comm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* softmax(scale · q · kᵀ + mask) · v, as torch.nn.functional.scaled_dot_product_attention. Sq, Skv: the tokens that the rank holds. */
typedef struct para_attention_args {
    para_tensor q;         /* [B, H, Sq, D], F32, BF16 or F16, any strides but the last */
    para_tensor k, v;      /* [B, Hkv, Skv, D] and [B, Hkv, Skv, Dv], H a multiple of Hkv: query head h sees key head h / (H / Hkv) */
    para_tensor out;       /* [B, H, Sq, Dv], the type of q or F32 */
    para_tensor mask;      /* none, or BOOL (true: attend) or F32 (added): [B | 1, H | 1, Sq | 1, keys], any strides. keys: Skv with one row for all
                              queries (key padding, which goes with its keys), or the tokens of all ranks in the layout's order.
                              All ranks give the same kind */
    float scale;           /* of q · k, before the mask is added (NAN: 1 / sqrt(D)) */
    bool causal;           /* query i sees keys 0 to i + causal_offset, counted over all ranks; what sees none gives 0 and LSE -inf (false) */
    int64_t causal_offset; /* 0: top-left aligned, as PyTorch (0) */
    para_tensor lse;       /* [B, H, Sq] F32, natural log of the softmax's sum; or none */
} para_attention_args;

#ifdef __cplusplus
#define PARA_ATTENTION_ARGS_INIT {}
#else
#define PARA_ATTENTION_ARGS_INIT { .scale = __builtin_nanf("") }
#endif

/* ---- Meshes and layouts */

typedef enum para_axis { PARA_AXIS_BATCH, PARA_AXIS_RING, PARA_AXIS_ULYSSES, PARA_AXIS_TOKENS /* ring and ulysses together */ } para_axis;

/* The ranks as batch × ring × ulysses, ulysses innermost. */
typedef struct para_mesh para_mesh;

typedef struct para_mesh_options {
    size_t size; /* sizeof(para_mesh_options), set by PARA_MESH_OPTIONS_INIT */
    int batch;   /* groups of ranks that work on different items (1) */
    int ring;    /* ranks that pass keys and values round (1) */
    int ulysses; /* ranks that exchange tokens for heads (0: what is left of the world) */
} para_mesh_options;

#define PARA_MESH_OPTIONS_INIT { sizeof(para_mesh_options), 1, 1, 0 }

/* PARA_ERR_ARGUMENT where batch · ring · ulysses is not the number of ranks; the sentence names the meshes that are. */
PARA_API para_status para_mesh_open(para_mesh **out, const para_world *world, const para_mesh_options *options);
PARA_API void para_mesh_close(para_mesh **mesh);
PARA_API int para_mesh_size(const para_mesh *mesh, para_axis axis);
/* The ranks along an axis that a rank belongs to. */
PARA_API para_comm para_mesh_comm(para_rank *rank, const para_mesh *mesh, para_axis axis);

/* How the tokens of a sequence are shared out over the axis `tokens` of a mesh: of each segment every rank holds a run of consecutive tokens, in the
 * order of the ranks. The order of the whole is all tokens of the first segment, then all of the second. */
typedef enum para_segment { PARA_IMAGE, PARA_TEXT, PARA_SEGMENTS } para_segment;

typedef struct para_layout para_layout;

typedef struct para_layout_options {
    size_t size;                         /* sizeof(para_layout_options), set by PARA_LAYOUT_OPTIONS_INIT */
    int64_t tokens[PARA_SEGMENTS];       /* of the whole: image or video, then text (0, 0) */
    const int64_t *share[PARA_SEGMENTS]; /* tokens of each rank [tokens axis], adding up to the whole (NULL: as even as can be, the first ranks more) */
} para_layout_options;

#define PARA_LAYOUT_OPTIONS_INIT { sizeof(para_layout_options), {0, 0}, {NULL, NULL} }

/* PARA_ERR_ARGUMENT, PARA_ERR_MEMORY. Ranks may hold no token at all. */
PARA_API para_status para_layout_open(para_layout **out, const para_mesh *mesh, const para_layout_options *options);
PARA_API void para_layout_close(para_layout **layout);
/* Of a segment: tokens of all ranks; first token, and number of tokens, of place `index` on the tokens axis. */
PARA_API int64_t para_layout_total(const para_layout *layout, para_segment segment);
PARA_API int64_t para_layout_first(const para_layout *layout, para_segment segment, int index);
PARA_API int64_t para_layout_count(const para_layout *layout, para_segment segment, int index);

/* ---- Attention in phases */

typedef enum para_operand { PARA_QUERY, PARA_KEY, PARA_VALUE, PARA_OPERANDS } para_operand;

typedef struct para_attention_mode para_attention_mode;

/* An attention under way; the caller's memory. */
typedef struct para_attention_job {
    para_attention_args args;        /* after begin: where each operand lies or has to be written, and where the result will be */
    const para_attention_mode *mode; /* what carries it out; NULL: nothing is between it and the device */
    int depth;                       /* modes below `mode` on the stack */
    void *state;                     /* the mode's own */
    bool spread;                     /* the operands are written where para_attention_places says */
    bool beside;                     /* between put and compute the caller computes something else, under which copies of operands would hide */
    int segments;                    /* that were put one by one */
    bool ended;                      /* all rows of `out` are there */
} para_attention_job;

/* Starts an attention. args says types and sizes; an operand or `out` without data gets room in the rank's memory, which lasts as long as the job,
 * so that a model can write there what it computes; a token's heads in such an `out` lie side by side. Then put for each operand, as soon as it is there; compute, which waits for
 * the operands; end, which waits for the result. Between these calls the model may compute something else. */
PARA_API para_status para_attention_begin(para_rank *rank, const para_attention_args *args, para_attention_job *job);
PARA_API para_status para_attention_put(para_rank *rank, para_attention_job *job, para_operand operand);
/* In place of three puts where all operands are there: they move together. */
PARA_API para_status para_attention_put_all(para_rank *rank, para_attention_job *job);
PARA_API para_status para_attention_compute(para_rank *rank, para_attention_job *job);
PARA_API para_status para_attention_end(para_rank *rank, para_attention_job *job);

/* Where rows of an operand are written: the heads in parts, some of which may lie in other ranks' memory. */
enum { PARA_MOST_PLACES = 16 };
typedef struct para_places {
    int parts;
    para_tensor part[PARA_MOST_PLACES]; /* [heads, rows, D], any strides but the last; all heads in order */
} para_places;

/* As para_attention_begin, for a caller that writes operands only where para_attention_places says: where ranks address each other's memory, the exchange is done with
 * that. Then put_all, or put_segment for each; what was made since the last of them is theirs. Operands without data have none in job->args where they lie elsewhere.
 * beside: between put and compute the caller computes something of its own that takes longer than the exchange, as a block does whose MLP needs no attention. Then a GPU
 * copies operands under it, since storing them at others takes longer than storing them here. All ranks say the same. */
PARA_API para_status para_attention_begin_spread(para_rank *rank, const para_attention_args *args, bool beside, para_attention_job *job);
/* Where rows [first, first + rows) of an operand of one batch entry go. To be asked for directly before they are written: others may have to wait until the next put. */
PARA_API para_status para_attention_places(para_rank *rank, para_attention_job *job, para_operand operand, int64_t first, int64_t rows, para_places *out);

/* Where segments have work of their own, in place of puts and end: a segment's rows of all operands are there, and move while the next segment's are made; its
 * rows of `out` are there, and used while others are on their way. Each segment once, also empty ones, in the same order on all ranks. What was put last comes
 * back first. */
PARA_API para_status para_attention_put_segment(para_rank *rank, para_attention_job *job, para_segment segment);
PARA_API para_status para_attention_end_segment(para_rank *rank, para_attention_job *job, para_segment segment);

/* All of it at once; the operands and `out` have data. PARA_ERR_SHAPE (sizes that do not fit together or to the layout), PARA_ERR_MEMORY, and what
 * other ranks fail with. */
PARA_API para_status para_attention(para_rank *rank, const para_attention_args *args);

/* ---- Modes */

/* How attention is carried out. The four phases are those above; what a mode wants done in its turn it hands to the mode below with
 * para_attention_begin_below. Values: they are copied. */
struct para_attention_mode {
    const char *name;
    para_status (*begin)(para_rank *rank, para_attention_job *job); /* gives room to operands and out without data; sets job->state */
    para_status (*put)(para_rank *rank, para_attention_job *job, para_operand operand);
    para_status (*compute)(para_rank *rank, para_attention_job *job);
    para_status (*end)(para_rank *rank, para_attention_job *job);
    const para_mesh *mesh;                  /* of the modes that exchange */
    const para_layout *layout, *kv_layout;  /* of the queries; of the keys and values */
    int head_groups;                        /* parts that heads are cut into, so that exchange and compute overlap */
    para_exchange_way exchange;             /* of the modes that exchange tokens for heads */
    const void *user;                       /* a mode's own */
    para_status (*put_all)(para_rank *rank, para_attention_job *job); /* NULL: put for each operand, values first */
    para_status (*put_segment)(para_rank *rank, para_attention_job *job, para_segment segment); /* NULL: put_all with the last of them, and one end for all */
    para_status (*end_segment)(para_rank *rank, para_attention_job *job, para_segment segment);
    para_status (*places)(para_rank *rank, para_attention_job *job, para_operand operand, int64_t first, int64_t rows, para_places *out); /* NULL: in job->args */
};

/* Puts a mode on top of the rank's stack, and takes the top away. 16 modes fit. PARA_ERR_STATE. */
PARA_API para_status para_attention_push(para_rank *rank, para_attention_mode mode);
PARA_API para_status para_attention_pop(para_rank *rank);

/* For modes: starts an attention that the mode below the one of `above` carries out (on the device itself where there is none). The other phases as
 * for any job. And all of it at once. */
PARA_API para_status para_attention_begin_below(para_rank *rank, const para_attention_job *above, const para_attention_args *args, para_attention_job *job);
PARA_API para_status para_attention_below(para_rank *rank, const para_attention_job *above, const para_attention_args *args);
/* Room for a mode's state on the host, zeroed, until the job ends. */
PARA_API para_status para_rank_scratch(para_rank *rank, size_t bytes, void **out);

/* Tokens for heads: each rank computes some heads over all tokens. The layout's ring axis must be 1. */
PARA_API para_attention_mode para_ulysses_mode(para_rank *rank, const para_mesh *mesh, const para_layout *layout);
/* Keys and values go round; partial results are merged in float32 by their LSE. The ulysses axis must be 1. */
PARA_API para_attention_mode para_ring_mode(para_rank *rank, const para_mesh *mesh, const para_layout *layout);
/* Ulysses inside a ring: either axis may be 1. For cross attention set kv_layout of the result. */
PARA_API para_attention_mode para_unified_mode(para_rank *rank, const para_mesh *mesh, const para_layout *layout);
/* Every batch entry attends to the tokens of all entries, as if they were one sequence. Masks: key padding [B, …, keys] only; not causal. */
PARA_API para_attention_mode para_in_batch_mode(para_rank *rank);
/* Keys that the mask drops for every query and head are not computed. To be pushed before the modes that exchange, so that it is below them. */
PARA_API para_attention_mode para_sparse_kv_mode(para_rank *rank);
/* Where there are fewer keys than queries (cross attention on text that every rank holds whole), attention is computed on the rank itself. */
PARA_API para_attention_mode para_skip_small_kv_mode(para_rank *rank);
/* Nothing below it applies: a scope in which attention is computed on the rank itself. */
PARA_API para_attention_mode para_plain_mode(para_rank *rank);

#ifdef __cplusplus
}
#endif
#endif

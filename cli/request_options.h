/* The options of a request and of the ranks that it runs on, shared by generate, plan and verify. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_CLI_REQUEST_OPTIONS_H
#define PARA_CLI_REQUEST_OPTIONS_H

#include <paraattn/paraattn.h>

#include "cache_arguments.h"
#include "options.h"

enum { MAX_HOSTS = 256 };

typedef struct request_options {
    para_request request;
    int rng, dtype, attention, compile, exchange; /* indices into the choices below */
    device_choice device;
    int ranks, threads, batch, ring, ulysses, head_groups;
    int hosts, host_ranks[MAX_HOSTS]; /* that the ranks count as being on; ranks on each, all 0: as even as can be */
    float timeout;
    number_list sigmas;
    bool vae_tiling, dynamic_cfg, parallel_vae, random_weights, offload;
    const char *machine; /* file of rates */
    int64_t memory_limit;
    cache_arguments cache;
} request_options;

extern const char *const rng_choices[], *const dtype_choices[], *const attention_choices[], *const compile_choices[], *const exchange_choices[];
enum { COMPILE_AUTO, COMPILE_ON, COMPILE_UNTUNED, COMPILE_UNRECORDED, COMPILE_OFF };

#define REQUEST_OPTIONS_INIT { .request = PARA_REQUEST_INIT, .ranks = 1, .timeout = 120, .cache = CACHE_ARGUMENTS_INIT }

/* Rows of a command's table; o: a request_options. With how much memory, */
#define MEMORY_OPTIONS(o)                                                                                                    \
    {"--memory-limit", OPTION_BYTES, &(o).memory_limit, "SIZE", NULL,                                                        \
     "memory to use of each GPU, such as 24G; with cpu, what a request's predicted peak may reach (all)"},                    \
        {"--offload", OPTION_FLAG, &(o).offload, NULL, NULL,                                                                 \
         "keep the transformer's blocks in host memory and fetch them as they are needed: less GPU memory"}
/* what to draw, */
#define PROMPT_OPTIONS(o)                                                                                                    \
    {"--prompt", OPTION_TEXT, &(o).request.prompt, "TEXT", NULL, "what to draw or film"},                                            \
        {"--prompt-2", OPTION_TEXT, &(o).request.prompt_2, "TEXT", NULL, "for the second text encoder (default: --prompt)"}, \
        {"--num-images", OPTION_INT, &(o).request.num_images, "N", NULL, "pictures or videos of the prompt (1)"}
/* how, */
#define SETTING_OPTIONS(o)                                                                                                   \
    {"--negative-prompt", OPTION_TEXT, &(o).request.negative_prompt, "TEXT", NULL, "what not to draw; for models with embedded guidance it needs --true-cfg above 1"}, \
        {"--true-cfg", OPTION_FLOAT, &(o).request.true_cfg_scale, "SCALE", NULL, "guidance away from the negative prompt, of models with embedded guidance (1: off)"}, \
        {"--dynamic-cfg", OPTION_FLAG, &(o).dynamic_cfg, NULL, NULL, "CogVideoX: guidance that changes from step to step, as diffusers' use_dynamic_cfg"}, \
        {"--sigmas", OPTION_NUMBERS, &(o).sigmas, "S,S,...", NULL, "the scheduler's sigmas instead of even spacing; sets --steps"}, \
        {"--max-sequence-length", OPTION_INT, &(o).request.max_sequence_length, "N", NULL, "tokens of the prompt (default: the model's own: FLUX 512, HunyuanVideo 256, CogVideoX 226)"}, \
        {"--vae-tiling", OPTION_FLAG, &(o).vae_tiling, NULL, NULL, "decode in tiles: less memory for large pictures"},       \
        STEP_OPTIONS(o)
/* of these the steps alone, */
#define STEP_OPTIONS(o)                                                                                                      \
    {"--width", OPTION_INT, &(o).request.width, "PIXELS", NULL, "width (default: the model's own)"},                         \
        {"--height", OPTION_INT, &(o).request.height, "PIXELS", NULL, "height (default: the model's own)"},                  \
        {"--frames", OPTION_INT, &(o).request.num_frames, "N", NULL, "frames of a video (default: the model's own number)"},  \
        {"--steps", OPTION_INT, &(o).request.num_inference_steps, "N", NULL, "denoising steps (default: the model's own: FLUX 28, HunyuanVideo and CogVideoX 50)"},                        \
        {"--guidance", OPTION_FLOAT, &(o).request.guidance_scale, "SCALE", NULL, "guidance, embedded or classifier-free as the model has it (default: the model's own: FLUX 3.5, HunyuanVideo and CogVideoX 6)"}, \
        {"--attention", OPTION_CHOICE, &(o).attention, NULL, attention_choices, "whose kernel computes the transformer's attention on a GPU (auto: para)"}, \
        {"--compile", OPTION_CHOICE, &(o).compile, NULL, compile_choices, "record a step on the GPU and play it, its products tuned or not; or tune them only (auto: on with one GPU, with several unrecorded)"}, \
        DEVICE_OPTIONS(o)
/* of these what they run on; */
#define DEVICE_OPTIONS(o)                                                                                                    \
    {"--dtype", OPTION_CHOICE, &(o).dtype, NULL, dtype_choices, "type of the activations (f32)"},                            \
        {"--device", OPTION_DEVICE, &(o).device, "cpu|cuda[:N,M]", NULL, "what to compute on: cuda:N is the N-th GPU from 0; cuda:N,M one for each rank (cpu)"}, \
        MEMORY_OPTIONS(o),                                                                                                   \
        {"--threads", OPTION_INT, &(o).threads, "N", NULL, "host threads (default: all that the process may use)"}
/* and both. */
#define REQUEST_OPTIONS(o) PROMPT_OPTIONS(o), SETTING_OPTIONS(o)

/* And of the ranks that it runs on. */
#define RANK_OPTIONS(o)                                                                                                      \
    {"--ranks", OPTION_INT, &(o).ranks, "N", NULL, "ranks that share the work and the threads; under mpirun or torchrun, N in each process (1)"}, \
        {"--ulysses", OPTION_INT, &(o).ulysses, "N", NULL, "of them, those that exchange tokens for heads (0: chosen)"},     \
        {"--ring", OPTION_INT, &(o).ring, "N", NULL, "of them, those that pass keys and values round (0: chosen)"},          \
        {"--batch", OPTION_INT, &(o).batch, "N", NULL, "groups of them that share out pictures and halves of --true-cfg (0: chosen)"}, \
        {"--head-groups", OPTION_INT, &(o).head_groups, "N", NULL, "parts of the heads, one exchanged while another is computed (0: chosen)"}, \
        {"--exchange", OPTION_CHOICE, &(o).exchange, NULL, exchange_choices, "how ranks of one process exchange tokens for heads: copy what others made, or store it where others need it (auto: direct)"}, \
        {"--machine", OPTION_TEXT, &(o).machine, "FILE", NULL, "rates that para bench machine -o wrote: times are predicted, and meshes chosen, by them (those in the user's cache folder)"}, \
        {"--parallel-vae", OPTION_FLAG, &(o).parallel_vae, NULL, NULL, "decode tiles on all ranks; turns on --vae-tiling"},   \
        {"--timeout", OPTION_FLOAT, &(o).timeout, "SECONDS", NULL, "give up on a rank that gave no sign of life for so long (120)"}

/* Puts what the table read into the request. */
void request_options_finish(request_options *o);
/* Frees the lists. */
void request_options_free(request_options *o);

#endif

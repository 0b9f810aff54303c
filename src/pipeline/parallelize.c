/* Declaring that a pipeline runs on many ranks. SPDX-License-Identifier: Apache-2.0 */
#include "core/error.h"
#include "parallel/mesh_hosts.h"
#include "pipeline/plan.h"

para_status para_parallelize(para_pipeline *pipe, const para_parallel_options *options) {
    para_parallel_options o = PARA_PARALLEL_OPTIONS_INIT;
    if (options) o = *options;
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "para_parallelize: the pipeline is NULL");
    PARA_TRY(para_check_size(o.size, sizeof o, "para_parallelize: options", "PARA_PARALLEL_OPTIONS_INIT"));
    para_mesh wish = {o.batch, o.ring, o.ulysses};
    PARA_TRY(para_mesh_check(wish, para_world_size(pipe->world)));
    if (o.head_groups < 0)
        return para_fail(PARA_ERR_ARGUMENT, "head_groups (--head-groups) is %d; give 0 (chosen) or more",
                         o.head_groups);
    if (o.exchange < PARA_EXCHANGE_AUTO || o.exchange > PARA_EXCHANGE_DIRECT)
        return para_fail(PARA_ERR_ARGUMENT, "exchange (--exchange) is %d; give PARA_EXCHANGE_AUTO, PARA_EXCHANGE_COPY or PARA_EXCHANGE_DIRECT",
                         (int)o.exchange);
    pipe->foreseen = false;
    pipe->parallel = !o.off;
    pipe->wish = wish;
    pipe->head_groups = o.head_groups;
    pipe->exchange = o.exchange;
    return PARA_OK;
}

para_status para_parallelize_vae(para_pipeline *pipe, const para_parallel_vae_options *options) {
    para_parallel_vae_options o = PARA_PARALLEL_VAE_OPTIONS_INIT;
    if (options) o = *options;
    if (!pipe) return para_fail(PARA_ERR_ARGUMENT, "para_parallelize_vae: the pipeline is NULL");
    PARA_TRY(para_check_size(o.size, sizeof o, "para_parallelize_vae: options", "PARA_PARALLEL_VAE_OPTIONS_INIT"));
    if (!o.off && !pipe->parallel_vae)
        para_pipeline_log(pipe, PARA_LOG_INFO,
                          "the parallel VAE decodes in tiles (as with --vae-tiling), which changes pixels near the "
                          "seams of large pictures");
    pipe->parallel_vae = !o.off;
    return PARA_OK;
}

static para_mesh_needs needs_of(const para_pipeline *pipe, const para_request *request, const para_geometry *g) {
    return (para_mesh_needs){.ranks = para_world_size(pipe->world),
                             .items = para_request_items(pipe, request),
                             .heads = g->heads,
                             .tokens = para_geometry_tokens(g) + g->text_tokens,
                             .host = para_group_host_list(pipe->world->group)};
}

static para_status predicted(void *user, para_mesh mesh, double *out) {
    const para_plan_subject *s = user;
    const para_rates rates = para_pipeline_rates(s->pipe);
    return para_plan_step_seconds(s, &mesh, &rates, out);
}

para_status para_request_mesh(para_pipeline *pipe, const para_request *request, const para_geometry *g,
                              para_mesh *out) {
    *out = (para_mesh){1, 1, 1};
    if (!pipe->parallel) return PARA_OK;
    para_mesh_needs needs = needs_of(pipe, request, g);
    para_plan_subject subject = {.pipe = pipe, .request = *request, .geometry = *g, .like = &pipe->world->worker[0].rank};
    bool whole = pipe->wish.batch && pipe->wish.ring && pipe->wish.ulysses;
    if (pipe->machine_path && needs.ranks > 1 && !whole) needs.seconds = predicted, needs.user = &subject;
    return para_mesh_choose(out, pipe->wish, &needs);
}

void para_request_explain_mesh(const para_pipeline *pipe, const para_request *request, const para_geometry *g, para_mesh mesh, char *text,
                               size_t bytes) {
    *text = '\0';
    if (!pipe->parallel) return;
    const para_mesh_needs needs = needs_of(pipe, request, g);
    para_mesh_explain(text, bytes, mesh, pipe->wish, &needs);
}

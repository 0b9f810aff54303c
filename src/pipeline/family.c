/* What families share: configs, sizes, flow matching. SPDX-License-Identifier: Apache-2.0 */
#include "pipeline/family.h"

#include <string.h>

#include "core/alloc.h"
#include "core/error.h"
#include "core/path.h"

para_status para_family_inspect(const para_pipeline *pipe,
                                para_status (*look)(const para_pipeline *pipe, void *const *model, void *user),
                                void *user) {
    void *model[PARA_MAX_COMPONENTS] = {0};
    const para_component *c = pipe->component;
    para_status status = PARA_OK;
    for (int i = 0; i < pipe->num_components && status == PARA_OK; i++)
        status = c[i].kind->open(&model[i], &c[i].config);
    if (status == PARA_OK) status = look(pipe, model, user);
    for (int i = 0; i < pipe->num_components; i++)
        if (model[i]) c[i].kind->close(&model[i]);
    return status;
}

static para_status check_scheduler_class(const para_config *config, const char *wanted) {
    const char *named;
    PARA_TRY(para_config_string(config, "_class_name", wanted, &named));
    if (strcmp(named, wanted) == 0) return PARA_OK;
    return para_fail(PARA_ERR_CONFIG, "'%s': _class_name is \"%s\", which is not supported; it must be %s",
                     config->path, named, wanted);
}

para_status para_family_scheduler(para_pipeline *pipe, const char *class_name, para_config *out) {
    char *path = para_path_join(pipe->folder, "scheduler/scheduler_config.json", "");
    if (!path) return PARA_ERR_MEMORY;
    para_status status = para_config_read(out, path);
    if (status == PARA_OK && class_name) status = check_scheduler_class(out, class_name);
    if (status == PARA_OK) status = para_pipeline_digest(pipe, out);
    para_free(path);
    return status;
}

para_status para_family_flow_match(para_pipeline *pipe, para_flow_match_euler *out) {
    para_config config = {0};
    para_status status = para_family_scheduler(pipe, "FlowMatchEulerDiscreteScheduler", &config);
    if (status == PARA_OK) status = para_flow_match_euler_read(out, &config);
    para_config_close(&config);
    if (status == PARA_OK && out->stochastic_sampling)
        return para_fail(PARA_ERR_CONFIG, "%s/scheduler: stochastic_sampling is not supported; set it to false",
                         pipe->folder);
    return status;
}

para_status para_family_flow_schedule(const para_flow_match_euler *scheduler, const para_request *r, double stop,
                                      int points, double mu, para_schedule *out) {
    int steps = r->num_inference_steps;
    double *own = NULL;
    if (!r->sigmas) {
        if (!(own = para_alloc((size_t)steps, sizeof *own))) return PARA_ERR_MEMORY;
        double step = points > 1 ? (stop - 1.0) / (points - 1) : 0;
        for (int i = 0; i < steps; i++) own[i] = i * step + 1.0;
        if (points > 1 && points == steps) own[steps - 1] = stop;
    }
    para_status status = para_flow_match_euler_schedule(scheduler, steps, own ? own : r->sigmas, mu, out);
    para_free(own);
    return status;
}

para_status para_family_round_edge(const para_pipeline *pipe, const char *name, int asked, int unit, int *out) {
    *out = asked / unit * unit;
    if (*out == 0)
        return para_fail(PARA_ERR_ARGUMENT, "%s (--%s) %d is too small; this model needs at least %d pixels", name,
                         name, asked, unit);
    if (*out != asked)
        para_pipeline_log(pipe, PARA_LOG_WARNING, "%s %d is not a multiple of %d: the %s gets %d", name, asked, unit,
                          pipe->family->makes_videos ? "video" : "picture", *out);
    return PARA_OK;
}

para_status para_family_round_frames(const para_pipeline *pipe, int asked, int unit, int *out) {
    if (asked < 1) return para_fail(PARA_ERR_ARGUMENT, "num_frames (--frames) is %d; give 1 or more", asked);
    *out = (asked - 1) / unit * unit + 1;
    if (*out != asked)
        para_pipeline_log(pipe, PARA_LOG_WARNING,
                          "num_frames %d is not 1 more than a multiple of %d: the video gets %d frames", asked, unit,
                          *out);
    return PARA_OK;
}

para_status para_family_count_tokens(const para_pipeline *pipe, para_geometry *g) {
    int64_t unit = g->height / g->latent_height * g->patch;
    if (g->latent_height % g->patch || g->latent_width % g->patch)
        return para_fail(PARA_ERR_ARGUMENT,
                         "%d x %d pixels cannot be cut into the patches of %s; give a --width and --height that %lld "
                         "divides",
                         g->width, g->height, pipe->component[pipe->family->transformer].config.path, (long long)unit);
    if (g->latent_frames % g->patch_t)
        return para_fail(PARA_ERR_ARGUMENT,
                         "%d frames (--frames) are %lld of latents, which the patch_size_t %lld of %s does not divide",
                         g->num_frames, (long long)g->latent_frames, (long long)g->patch_t,
                         pipe->component[pipe->family->transformer].config.path);
    g->frames = g->latent_frames / g->patch_t;
    g->grid_h = g->latent_height / g->patch;
    g->grid_w = g->latent_width / g->patch;
    g->channels = g->latent_channels * g->patch_t * g->patch * g->patch;
    return PARA_OK;
}

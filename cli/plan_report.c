/* The report of a plan. SPDX-License-Identifier: Apache-2.0 */
#include "plan_report.h"

#include <jansson.h>

#include "report.h"

static json_t *mesh_value(const para_mesh_plan *m) {
    return json_pack("{s:i, s:i, s:i, s:b, s:{s:f, s:f, s:f, s:f, s:f}, s:f, s:I, s:I, s:I}", "batch", m->batch, "ring",
                     m->ring, "ulysses", m->ulysses, "chosen", m->chosen, "seconds", "step", m->step_seconds, "compute",
                     m->compute_seconds, "exchange", m->exchange_seconds, "overhead", m->overhead_seconds, "prepare",
                     m->prepare_seconds, "most_step_flops", m->most.step_flops, "most_step_bytes",
                     (json_int_t)m->most.step_bytes, "most_step_messages", (json_int_t)m->most.step_messages,
                     "most_arena_bytes", (json_int_t)m->most.arena_bytes);
}

para_status plan_report_write(const char *path, const char *model, const para_plan *p, const para_mesh_plan *mesh,
                              int meshes, const char *machine) {
    json_t *list = json_array();
    for (int i = 0; i < meshes; i++) json_array_append_new(list, mesh_value(&mesh[i]));
    json_t *report =
        json_pack("{s:s, s:o, s:i, s:i, s:i, s:I, s:I, s:i, s:i, s:f, s:f, s:o, s:o}", "version", para_version(),
                  "model", report_text(model), "width", p->width, "height", p->height, "num_frames", p->num_frames,
                  "image_tokens", (json_int_t)p->image_tokens, "text_tokens", (json_int_t)p->text_tokens, "items",
                  p->items, "ranks", p->ranks, "step_flops", p->step_flops, "step_attention_flops",
                  p->step_attention_flops, "machine", report_text(machine), "meshes", list);
    return report_save(path, report);
}

/* para info: what a model, or the program, is made of. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "commands.h"
#include "request_options.h"

static int show_program(void) {
    printf("para %s\n%s\n", para_version(), para_build_info());
    return EXIT_DONE;
}

static int show_model(const char *model) {
    request_options o = REQUEST_OPTIONS_INIT;
    para_world_options w = PARA_WORLD_OPTIONS_INIT;
    para_world *world;
    para_pipeline *pipe;
    int code = request_options_open(&o, "info", model, w, &world, &pipe);
    if (code != EXIT_DONE) return code;
    double parameters = 0, bytes = 0;
    printf("%s\n%-15s %-24s %15s %12s  %s\n", model, "component", "class", "parameters", "size", "type");
    for (int i = 0; i < para_pipeline_components(pipe); i++) {
        para_component_info c;
        if (para_pipeline_component(pipe, i, &c) != PARA_OK) {
            complain("info", "%s", para_last_error());
            code = EXIT_FAILED;
            break;
        }
        printf("%-15s %-24s %15lld %9.1f MB  %s\n", c.name, c.class_name, (long long)c.parameters,
               (double)c.bytes / 1e6, c.has_files ? para_dtype_name(c.dtype) : "no weight files here");
        parameters += (double)c.parameters;
        bytes += (double)c.bytes;
    }
    if (code == EXIT_DONE) printf("%-15s %-24s %15.0f %9.1f MB\n", "all", "", parameters, bytes / 1e6);
    para_pipeline_close(&pipe);
    para_world_close(&world);
    return code;
}

int command_info(int argc, char **argv) {
    static const option options[] = {{0}};
    static const command c = {
        .name = "info",
        .operand = "MODEL",
        .summary = "Shows a model's components with class, parameters, size and type; without MODEL, what this program "
                   "is made of.",
        .details = "\nReads configs and the headers of weight files only.\n"
                   "\nExamples:\n"
                   "  para info models/tiny-flux\n"
                   "  para info\n",
        .options = options,
    };
    const char *model;
    bool help;
    int code = parse_options(&c, argc, argv, &model, &help);
    if (code != EXIT_DONE || help) return code;
    return model ? show_model(model) : show_program();
}

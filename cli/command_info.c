/* para info: what a model, or the program, is made of. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "commands.h"
#include "session.h"

static int show_program(void) {
    printf("para %s\n%s\n", para_version(), para_build_info());
    const char *mpi = para_mpi_info();
    if (mpi) printf("mpi (%s)\n", mpi);
    else printf("no mpi: %s\n", para_last_error());
    const char *nccl = para_nccl_info();
    if (nccl) printf("nccl (%s)\n", nccl);
    else printf("no nccl: %s\n", para_last_error());
    const char *cuda = para_cuda_info();
    if (cuda) printf("%s\n", cuda);
    else printf("no cuda: %s\n", para_last_error());
    return EXIT_DONE;
}

static para_status show_components(para_pipeline *pipe, bool first, const char *model) {
    double parameters = 0, bytes = 0;
    if (first) printf("%s\n%-15s %-24s %15s %12s  %s\n", model, "component", "class", "parameters", "size", "type");
    for (int i = 0; i < para_pipeline_components(pipe); i++) {
        para_component_info c;
        para_status status = para_pipeline_component(pipe, i, &c);
        if (status != PARA_OK) return status;
        if (first)
            printf("%-15s %-24s %15lld %9.1f MB  %s\n", c.name, c.class_name, (long long)c.parameters,
                   (double)c.bytes / 1e6, c.has_files ? para_dtype_name(c.dtype) : "no weight files here");
        parameters += (double)c.parameters;
        bytes += (double)c.bytes;
    }
    if (first) printf("%-15s %-24s %15.0f %9.1f MB\n", "all", "", parameters, bytes / 1e6);
    return PARA_OK;
}

static int show_model(const char *model) {
    request_options o = REQUEST_OPTIONS_INIT;
    session s;
    para_status status = session_open(&s, "info", &o, model, NULL);
    if (status == PARA_OK) status = show_components(s.pipe, s.first, model);
    return session_close(&s, status);
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

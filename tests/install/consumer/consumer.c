/* A stranger's program: built against the installed library only. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/paraattn.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    char header[32];
    snprintf(header, sizeof header, "%d.%d.%d", PARA_VERSION_MAJOR, PARA_VERSION_MINOR, PARA_VERSION_PATCH);
    if (strcmp(para_version(), header) != 0) {
        fprintf(stderr, "consumer: library %s, header %s\n", para_version(), header);
        return 1;
    }
    para_world *world = NULL;
    para_pipeline *pipe = NULL;
    if (para_world_open(&world, NULL) != PARA_OK) {
        fprintf(stderr, "consumer: %s\n", para_last_error());
        return 1;
    }
    para_status status = para_pipeline_open(&pipe, world, "no such folder", NULL);
    int good = status == PARA_ERR_NOT_FOUND && strstr(para_last_error(), "no such folder");
    printf("%s\n", header);
    if (!good)
        fprintf(stderr, "consumer: opening a folder that is not there gave %s, \"%s\"\n", para_status_name(status),
                para_last_error());
    para_pipeline_close(&pipe);
    para_world_close(&world);
    return !good;
}

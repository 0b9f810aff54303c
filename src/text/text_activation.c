/* Activation functions by name. SPDX-License-Identifier: Apache-2.0 */
#include "text/text_activation.h"

#include <string.h>

#include "core/error.h"

para_status para_text_activation(const para_config *config, const char *key, const char *name, para_activation *out) {
    static const struct {
        const char *name;
        para_activation activation;
    } known[] = {
        {"quick_gelu", PARA_ACT_QUICK_GELU},
        {"gelu", PARA_ACT_GELU_ERF},
        {"gelu_new", PARA_ACT_GELU_TANH},
        {"gelu_pytorch_tanh", PARA_ACT_GELU_TANH},
        {"relu", PARA_ACT_RELU},
        {"silu", PARA_ACT_SILU},
        {"swish", PARA_ACT_SILU},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i].name) == 0) {
            *out = known[i].activation;
            return PARA_OK;
        }
    }
    return para_fail(
        PARA_ERR_CONFIG,
        "%s: %s \"%s\" is not supported; known are quick_gelu, gelu, gelu_new, gelu_pytorch_tanh, relu, silu",
        config->path, key, name);
}

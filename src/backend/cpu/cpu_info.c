/* What is built in. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/version.h>

#include <dnnl.h>

#define TEXT_OF(x)      #x
#define DOTTED(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

const char *para_build_info(void) {
    return "cpu (oneDNN " DOTTED(DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH) ", OpenMP)";
}

/* Version and build description. SPDX-License-Identifier: Apache-2.0 */
#include <paraattn/version.h>

#define TEXT_OF(x)      #x
#define DOTTED(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

const char *para_version(void) {
    return DOTTED(PARA_VERSION_MAJOR, PARA_VERSION_MINOR, PARA_VERSION_PATCH);
}

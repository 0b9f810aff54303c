/* How long each kind of op takes. SPDX-License-Identifier: Apache-2.0
 *
 * While a profile is open the device's table is one whose ops note when they begin and end; then it is the old one again, so that nothing is asked or noted
 * otherwise. Such a device does not record: what is profiled runs op by op. */
#ifndef PARA_BACKEND_PROFILE_H
#define PARA_BACKEND_PROFILE_H

#include <paraattn/pipeline.h>

#include "backend/backend.h"

typedef struct para_profile para_profile;

/* Where *profile is NULL at the end, it was never opened, and nothing is to be done. PARA_ERR_MEMORY. */
para_status para_profile_open(para_device *dev, para_profile **profile);
/* The device has its own table again. out: a list of *count kinds, the longest first, the caller's (para_free); NULL: nobody wants to know. Waits. */
para_status para_profile_close(para_device *dev, para_profile **profile, para_op_time **out, int *count);

#endif

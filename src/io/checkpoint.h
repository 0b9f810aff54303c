/* One component of a diffusers folder: its config and its weights, in one file or in shards. SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_IO_CHECKPOINT_H
#define PARA_IO_CHECKPOINT_H

#include "io/config.h"
#include "io/safetensors.h"

typedef struct para_checkpoint para_checkpoint;

/* Opens the weights of `folder`: "<stem>.safetensors", or the shards of "<stem>.safetensors.index.json"; stems tried in order:
 * "diffusion_pytorch_model", "model". Every shard is mapped and every index entry checked. Folders that hold only *.bin weights are
 * refused with the way out. PARA_ERR_NOT_FOUND, PARA_ERR_FORMAT, PARA_ERR_IO, PARA_ERR_MEMORY. */
para_status para_checkpoint_open(para_checkpoint **out, const char *folder);
void para_checkpoint_close(para_checkpoint **c);

/* The read-only host view of a tensor and the path of its file (NULL allowed). False: there is none. */
bool para_checkpoint_find(const para_checkpoint *c, const char *name, para_tensor *out, const char **path);
/* The open file that a tensor lies in, and where: for whoever reads rather than maps; stays the checkpoint's own. -1: there is none. */
int para_checkpoint_file(const para_checkpoint *c, const char *name, int64_t *offset);
/* Its type as the file spells it ("F64" where the view has PARA_DTYPE_NONE), or NULL. */
const char *para_checkpoint_type(const para_checkpoint *c, const char *name);
/* Folder, number of tensors, total bytes of tensors, and the i-th tensor (sorted by name, for listings). */
const char *para_checkpoint_folder(const para_checkpoint *c);
int64_t para_checkpoint_count(const para_checkpoint *c);
int64_t para_checkpoint_bytes(const para_checkpoint *c);
void para_checkpoint_at(const para_checkpoint *c, int64_t i, const char **name, para_tensor *out);

#endif

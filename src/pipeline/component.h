/* The components of a diffusers folder: text encoders, transformer, VAE, with their configs and weights.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PARA_PIPELINE_COMPONENT_H
#define PARA_PIPELINE_COMPONENT_H

#include <paraattn/pipeline.h>

#include "backend/weights.h"
#include "io/config.h"

/* A class that a component can have. */
typedef struct para_component_class {
    const char *class_name;
    para_status (*open)(void **model, const para_config *config);
    void (*close)(void **model);
    void (*weights)(void *model, para_weights *list, const para_checkpoint *checkpoint);
} para_component_class;

/* The class of this name, or NULL. */
const para_component_class *para_component_class_find(const char *class_name);

/* A component whose config was read: shared by every instance. */
typedef struct para_component {
    const char *name; /* "transformer": a literal of the pipeline family */
    const para_component_class *kind;
    para_config config;
    char *folder;
} para_component;

/* Reads <root>/<name>/config.json and checks that its class is `class_name`. */
para_status para_component_open(para_component *out, const char *root, const char *name, const char *class_name);
void para_component_close(para_component *c); /* takes a zeroed one, too */

/* A component's model with weights on one device, real or dry. */
typedef struct para_instance {
    const para_component *component;
    void *model;
    para_weights *weights;       /* NULL: none */
    para_checkpoint *checkpoint; /* NULL with random weights, without any, and on a dry device without files */
} para_instance;

/* How weights come onto a device. */
typedef struct para_placing {
    bool none;       /* they do not: the model only says its sizes */
    int slots, kept; /* a transformer's blocks are offloaded: places where they take turns (0: they are not), and blocks that stay */
    para_weights_sharing sharing; /* with other ranks */
} para_placing;
enum { PARA_OFFLOAD_SLOTS = 3 }; /* one in use, one ready, one on its way */

/* Builds the model and loads its weights, or random ones. On a dry device only headers are read, and where the folder has no weight files they are
 * assumed to be of the pipeline's type. */
para_status para_instance_open(para_instance *out, const para_component *component, para_device *dev, const para_pipeline_options *options, para_placing placing);
void para_instance_close(para_instance *i); /* takes a zeroed one, too */

#endif

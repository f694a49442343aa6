/* CUDA's meeting with EGL: the end of libcuda.c, which includes this. As strict as the documentation allows: what is
 * registered twice, unregistered while work is pending, or no image at all, is an error. */
#include "fake_egl.h"

static Stream *streams[16]; /* all that live, to know of pending work */

typedef struct { FakeEglImage *image; } Resource;
typedef struct { /* CUeglFrame */
    void *planes[3];
    uint32_t width, height, depth, pitch, plane_count, channels;
    int frame_type, colour_format, format;
} EglFrame;

static void streams_note(Stream *stream, int lives) {
    for (int i = 0; i < 16; i++)
        if (streams[i] == (lives ? NULL : stream)) { streams[i] = lives ? stream : NULL; return; }
}
static int pending(void) {
    for (int i = 0; i < 16; i++) if (streams[i] && streams[i]->queue.count) return 1;
    return 0;
}
CUresult cuCtxSynchronize(void) {
    ENTER("cuCtxSynchronize", 1);
    for (int i = 0; i < 16; i++) if (streams[i]) { drain(&streams[i]->queue); streams[i]->queue.count = 0; }
    return OK;
}
CUresult cuGraphicsEGLRegisterImage(Resource **resource, FakeEglImage *image, unsigned flags) {
    ENTER("cuGraphicsEGLRegisterImage", 1);
    if (!image || image->magic != FAKE_EGL_IMAGE || image->registered || flags) return INVALID_VALUE;
    image->registered = 1;
    *resource = malloc(sizeof **resource);
    (*resource)->image = image;
    living[RESOURCES]++;
    return OK;
}
CUresult cuGraphicsResourceGetMappedEglFrame(EglFrame *frame, Resource *resource, unsigned index, unsigned level) {
    ENTER("cuGraphicsResourceGetMappedEglFrame", 1);
    if (index || level) return INVALID_VALUE;
    FakeEglImage *image = resource->image;
    *frame = (EglFrame){.planes = {image->is_array ? NULL : (void *)(uintptr_t)fake_address(image->memory)},
                        .width = image->width, .height = image->height, .depth = 1, .pitch = image->pitch,
                        .plane_count = 1, .channels = 4, .frame_type = !image->is_array, .format = 1};
    return OK;
}
CUresult cuGraphicsUnregisterResource(Resource *resource) {
    ENTER("cuGraphicsUnregisterResource", 1);
    if (!resource->image->registered || pending()) return INVALID_HANDLE;
    resource->image->registered = 0;
    free(resource);
    living[RESOURCES]--;
    return OK;
}

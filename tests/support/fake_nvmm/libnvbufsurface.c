/* A libnvbufsurface for tests: surfaces over plain memory, EGL images that know whether CUDA still holds them. */
#include "nvbufsurface.h"

#include <stdlib.h>
#include <string.h>

#include "../fake_cuda/fake_egl.h"

static int display = 1, arrays, living_images, living_surfaces, mistakes;
static uint64_t next_desc = 40;

/* What a test asks for and sees. A mistake: an image unmapped that CUDA holds or that is none, a surface freed with one. */
void fake_display(int is_there) { display = is_there; }
void fake_arrays(int all) { arrays = all; } /* CUDA sees images as arrays, whatever the surface says */
int fake_images(void) { return living_images; }
int fake_surfaces(void) { return living_surfaces; }
int fake_mistakes(void) { int count = mistakes; mistakes = 0; return count; }
uint32_t fake_align(void) { return 256; }

NvBufSurface *fake_surface(uint32_t width, uint32_t height, int colour, int layout, int kind) {
    NvBufSurface *surface = calloc(1, sizeof *surface);
    NvBufSurfaceParams *params = surface->surfaceList = calloc(1, sizeof *params);
    uint32_t pitch = (width * 4 + fake_align() - 1) / fake_align() * fake_align();
    surface->batchSize = surface->numFilled = 1;
    surface->memType = kind;
    *params = (NvBufSurfaceParams){.width = width, .height = height, .pitch = pitch, .colorFormat = colour,
                                   .layout = layout, .bufferDesc = next_desc++, .dataSize = pitch * height,
                                   .dataPtr = calloc(height, pitch)};
    params->planeParams = (NvBufSurfacePlaneParams){.num_planes = 1, .width = {width}, .height = {height},
                                                    .pitch = {pitch}, .psize = {pitch * height}, .bytesPerPix = {4}};
    living_surfaces++;
    return surface;
}
void fake_surface_free(NvBufSurface *surface) {
    if (surface->surfaceList->eglImage) mistakes++;
    free(surface->surfaceList->dataPtr);
    free(surface->surfaceList);
    free(surface);
    living_surfaces--;
}
/* What a release of NVIDIA's may do with an image that is left over: it goes with its surface. */
void fake_surface_drop(NvBufSurface *surface) {
    if (surface->surfaceList->eglImage) { free(surface->surfaceList->eglImage); living_images--; }
    surface->surfaceList->eglImage = NULL;
    fake_surface_free(surface);
}
int NvBufSurfaceMapEglImage(NvBufSurface *surface, int index) {
    if (!display || index != 0 || surface->surfaceList->eglImage) return -1;
    NvBufSurfaceParams *params = surface->surfaceList;
    FakeEglImage *image = params->eglImage = malloc(sizeof *image);
    *image = (FakeEglImage){.magic = FAKE_EGL_IMAGE, .width = params->width, .height = params->height,
                            .pitch = params->pitch, .is_array = arrays, .memory = params->dataPtr};
    living_images++;
    return 0;
}
int NvBufSurfaceUnMapEglImage(NvBufSurface *surface, int index) {
    FakeEglImage *image = surface->surfaceList->eglImage;
    if (index != 0 || !image || image->registered) { mistakes++; return -1; }
    free(image);
    surface->surfaceList->eglImage = NULL;
    living_images--;
    return 0;
}

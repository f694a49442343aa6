/* The same driver for GStreamer's CUDA library, which looks for other names (`_v2`), uses contexts that are pushed and
 * popped, pitched memory, and copies to and from the host. It counts bytes by direction: what it does not count was not
 * copied. */
#define cuStreamCreate strict_cuStreamCreate
#define cuMemcpy2DAsync strict_cuMemcpy2DAsync
#include "libcuda.c"
#undef cuStreamCreate
#undef cuMemcpy2DAsync

static __thread void *stack[16];
static __thread int depth;
static uint64_t copied[3]; /* bytes: to the device, to the host, within the device */
uint64_t fake_copied(int direction) { return copied[direction]; }

CUresult cuCtxCreate_v2(void **context, unsigned flags, int device) { (void)flags; (void)device; ENTER("cuCtxCreate", 0); *context = malloc(1); stack[depth++] = current; current = *context; living[CONTEXTS]++; return OK; }
CUresult cuCtxDestroy_v2(void *context) { free(context); living[CONTEXTS]--; return OK; }
CUresult cuCtxPushCurrent_v2(void *context) { stack[depth++] = current; current = context; return OK; }
CUresult cuCtxPopCurrent_v2(void **context) { if (context) *context = current; current = stack[--depth]; return OK; }
CUresult cuCtxEnablePeerAccess(void *peer, unsigned flags) { (void)peer; (void)flags; return INVALID_DEVICE; }
CUresult cuCtxDisablePeerAccess(void *peer) { (void)peer; return INVALID_DEVICE; }
CUresult cuDeviceCanAccessPeer(int *can, int device, int peer) { (void)device; (void)peer; *can = 0; return OK; }
CUresult cuStreamCreate(Stream **stream, unsigned flags) { (void)flags; return strict_cuStreamCreate(stream, 1); }
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) { return cuMemAlloc(address, bytes); }
CUresult cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height, unsigned element) {
    (void)element;
    *pitch = (width + 511) / 512 * 512;
    return cuMemAlloc(address, *pitch * height);
}
CUresult cuMemAllocHost_v2(void **memory, size_t bytes) { *memory = malloc(bytes); living[HOST]++; return OK; }
CUresult cuMemFree_v2(CUdeviceptr address) { return cuMemFree(address); }

static char *place(int type, const void *host, CUdeviceptr device, size_t x, size_t y, size_t pitch) {
    char *base = type == 1 ? (char *)(uintptr_t)host : fake_memory(device); /* CU_MEMORYTYPE_HOST is 1, DEVICE 2 */
    return base ? base + y * pitch + x : NULL;
}
CUresult cuMemcpy2D_v2(const Copy2D *c) {
    ENTER("cuMemcpy2D", 1);
    char *from = place(c->from_type, c->from_host, c->from_device, c->from_x, c->from_y, c->from_pitch);
    char *to = place(c->to_type, c->to_host, c->to_device, c->to_x, c->to_y, c->to_pitch);
    if (!from || !to) return INVALID_VALUE;
    for (size_t row = 0; row < c->height; row++) memcpy(to + row * c->to_pitch, from + row * c->from_pitch, c->width);
    copied[c->to_type == 1 ? 1 : c->from_type == 1 ? 0 : 2] += c->width * c->height;
    return OK;
}
CUresult cuMemcpy2DAsync_v2(const Copy2D *copy, Stream *stream) { (void)stream; return cuMemcpy2D_v2(copy); }
CUresult cuMemcpy2DAsync(const Copy2D *copy, Stream *stream) { return cuMemcpy2DAsync_v2(copy, stream); }

#define ABSENT(name) CUresult name(void) { return UNSUPPORTED; }
ABSENT(cuGraphicsMapResources) ABSENT(cuGraphicsUnmapResources) ABSENT(cuTexObjectCreate) ABSENT(cuTexObjectDestroy)
ABSENT(cuGraphicsGLRegisterImage) ABSENT(cuGraphicsGLRegisterBuffer) ABSENT(cuGLGetDevices_v2)
ABSENT(cuGraphicsResourceSetMapFlags_v2) ABSENT(cuGraphicsSubResourceGetMappedArray)
ABSENT(cuGraphicsResourceGetMappedPointer_v2)

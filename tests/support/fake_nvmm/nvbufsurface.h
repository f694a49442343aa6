/* The head of NVIDIA's NvBufSurface structs, written from their documentation: field names, types and order.
 * Only what edge/memory/nvmm.py reads, and what stands before it; the test compares every offset. */
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t num_planes;
    uint32_t width[4], height[4], pitch[4], offset[4], psize[4], bytesPerPix[4];
    void *_reserved[16];
} NvBufSurfacePlaneParams;

typedef struct {
    uint32_t width, height, pitch;
    int colorFormat;
    int layout;
    uint64_t bufferDesc;
    uint32_t dataSize;
    void *dataPtr;
    NvBufSurfacePlaneParams planeParams;
    void *mappedAddr[4];
    void *eglImage;
    void *_reserved[8];
} NvBufSurfaceParams;

typedef struct {
    uint32_t gpuId, batchSize, numFilled;
    bool isContiguous;
    int memType;
    NvBufSurfaceParams *surfaceList;
    void *_reserved[8];
} NvBufSurface;

int NvBufSurfaceMapEglImage(NvBufSurface *surface, int index);
int NvBufSurfaceUnMapEglImage(NvBufSurface *surface, int index);

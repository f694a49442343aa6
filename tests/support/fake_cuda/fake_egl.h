/* An EGLImage of the fakes: what libnvbufsurface hands out and CUDA takes. Neither is freed while the other holds it. */
#include <stdint.h>

#define FAKE_EGL_IMAGE 0x45474c49u
typedef struct {
    uint32_t magic, width, height, pitch, is_array;
    int registered; /* with CUDA */
    void *memory;
} FakeEglImage;

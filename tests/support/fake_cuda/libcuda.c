/* A driver for tests: the part of CUDA's C interface that edge/memory uses, over plain memory.
 *
 * It is as strict as a driver is where mistakes hurt. A call without a current context fails. Work on a stream is not
 * done before the stream is synchronised, and is recorded while it is captured. Device addresses carry a tag, so that
 * the host cannot read through one. What was lent and not given back is counted. Any call can be told to fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_PTX = 218,
       INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, UNSUPPORTED = 900, INVALIDATED = 901 };

/* ---- what a test can ask for and see */

typedef struct { char name[64]; int calls, fail_at, code; } Call;
static Call calls[128];
static int device_count = 1, integrated = 0;
enum { CONTEXTS, STREAMS, GRAPHS, EXECUTABLES, HOST, DEVICE, MODULES, RESOURCES, KINDS };
static const char *kind_names[KINDS] = {"contexts", "streams", "graphs", "executables", "host", "device", "modules", "resources"};
static int living[KINDS];
static __thread void *current;

static Call *entry(const char *name) {
    for (int i = 0; i < 128; i++) {
        if (!calls[i].name[0]) strncpy(calls[i].name, name, 63);
        if (!strcmp(calls[i].name, name)) return &calls[i];
    }
    abort();
}
/* The `nth` call from now on of `name` (1: the next) answers `code`, once. */
void fake_fail(const char *name, int nth, int code) { Call *c = entry(name); c->fail_at = c->calls + nth; c->code = code; }
int fake_calls(const char *name) { return entry(name)->calls; }
int fake_living(const char *kind) {
    for (int i = 0; i < KINDS; i++) if (!strcmp(kind_names[i], kind)) return living[i];
    return -1;
}
void fake_reset(void) { memset(calls, 0, sizeof calls); memset(living, 0, sizeof living); device_count = 1; integrated = 0; }
void fake_devices(int count) { device_count = count; }
void fake_integrated(int is) { integrated = is; }

static CUresult enter(const char *name, int needs_context) {
    Call *c = entry(name);
    if (++c->calls == c->fail_at) return c->code;
    return needs_context && !current ? INVALID_CONTEXT : OK;
}
#define ENTER(name, needs) do { CUresult e_ = enter(name, needs); if (e_) return e_; } while (0)

/* ---- errors, versions, devices */

static const struct { CUresult code; const char *name, *text; } errors[] = {
    {OK, "CUDA_SUCCESS", "no error"}, {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
};
static CUresult say(CUresult code, const char **out, int which) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code) { *out = which ? errors[i].text : errors[i].name; return OK; }
    *out = NULL;
    return INVALID_VALUE;
}
CUresult cuGetErrorString(CUresult code, const char **out) { return say(code, out, 1); }
CUresult cuGetErrorName(CUresult code, const char **out) { return say(code, out, 0); }
CUresult cuDriverGetVersion(int *version) { *version = 12060; return OK; }
CUresult cuInit(unsigned flags) { ENTER("cuInit", 0); return flags ? INVALID_VALUE : device_count ? OK : NO_DEVICE; }
CUresult cuDeviceGetCount(int *count) { ENTER("cuDeviceGetCount", 0); *count = device_count; return OK; }
CUresult cuDeviceGet(int *device, int ordinal) {
    ENTER("cuDeviceGet", 0);
    *device = ordinal;
    return ordinal >= 0 && ordinal < device_count ? OK : INVALID_DEVICE;
}
CUresult cuDeviceGetName(char *name, int length, int device) { ENTER("cuDeviceGetName", 0); snprintf(name, length, "Fake GPU %d", device); return OK; }
CUresult cuDeviceGetUuid(unsigned char *uuid, int device) { ENTER("cuDeviceGetUuid", 0); memset(uuid, 0xA0 + device, 16); return OK; }
CUresult cuDeviceTotalMem(size_t *bytes, int device) { (void)device; ENTER("cuDeviceTotalMem", 0); *bytes = 8ull << 30; return OK; }
CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    ENTER("cuDeviceGetAttribute", 0);
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? integrated : 0; /* of an Orin */
    return OK;
}
static char primary;
CUresult cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; ENTER("cuDevicePrimaryCtxRetain", 0); living[CONTEXTS]++; *context = &primary; return OK; }
CUresult cuDevicePrimaryCtxRelease(int device) { (void)device; ENTER("cuDevicePrimaryCtxRelease", 0); living[CONTEXTS]--; return OK; }
CUresult cuCtxSetCurrent(void *context) { ENTER("cuCtxSetCurrent", 0); current = context; return OK; }
CUresult cuCtxGetCurrent(void **context) { ENTER("cuCtxGetCurrent", 0); *context = current; return OK; }

/* ---- memory: device addresses are tagged host addresses */

#define TAG (1ull << 60)
void *fake_memory(CUdeviceptr address) { return address & TAG ? (void *)(uintptr_t)(address & ~TAG) : NULL; }
CUdeviceptr fake_address(void *memory) { return (uintptr_t)memory | TAG; }
CUresult cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    ENTER("cuMemHostAlloc", 1);
    if (!(flags & 2)) return INVALID_VALUE; /* CU_MEMHOSTALLOC_DEVICEMAP */
    if (!(*memory = malloc(bytes))) return OUT_OF_MEMORY;
    memset(*memory, 0xCD, bytes);
    living[HOST]++;
    return OK;
}
CUresult cuMemHostGetDevicePointer(CUdeviceptr *address, void *memory, unsigned flags) { (void)flags; ENTER("cuMemHostGetDevicePointer", 1); *address = fake_address(memory); return OK; }
CUresult cuMemFreeHost(void *memory) { ENTER("cuMemFreeHost", 1); free(memory); living[HOST]--; return OK; }
CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes) {
    ENTER("cuMemAlloc", 1);
    void *memory = malloc(bytes);
    if (!bytes || !memory) return bytes ? OUT_OF_MEMORY : INVALID_VALUE;
    memset(memory, 0xCD, bytes);
    *address = fake_address(memory);
    living[DEVICE]++;
    return OK;
}
CUresult cuMemFree(CUdeviceptr address) {
    ENTER("cuMemFree", 1);
    if (!fake_memory(address)) return INVALID_VALUE;
    free(fake_memory(address));
    living[DEVICE]--;
    return OK;
}

/* ---- streams and graphs: a list of things to do */

typedef void (*Host)(void *);
typedef struct { Host run; void *with; size_t bytes; char data[192]; } Work;
typedef struct { Work *work; int count, room; } List;
typedef struct { List queue, recorded; int capturing, broken; } Stream;
static void streams_note(Stream *stream, int lives);

static void add(List *list, Host run, void *with, const void *data, size_t bytes) {
    if (list->count == list->room) list->work = realloc(list->work, sizeof(Work) * (list->room = list->room * 2 + 8));
    Work *work = &list->work[list->count++];
    *work = (Work){.run = run, .with = with, .bytes = bytes};
    if (bytes) memcpy(work->data, data, bytes);
}
static CUresult push(Stream *stream, Host run, void *with, const void *data, size_t bytes) {
    if (!stream) return INVALID_HANDLE; /* the default stream is nobody's here */
    add(stream->capturing ? &stream->recorded : &stream->queue, run, with, data, bytes);
    return OK;
}
static void drain(List *list) {
    for (int i = 0; i < list->count; i++) list->work[i].run(list->work[i].with ? list->work[i].with : list->work[i].data);
}
CUresult cuStreamCreate(Stream **stream, unsigned flags) {
    ENTER("cuStreamCreate", 1);
    if (flags != 1) return INVALID_VALUE; /* CU_STREAM_NON_BLOCKING */
    *stream = calloc(1, sizeof **stream);
    streams_note(*stream, 1);
    living[STREAMS]++;
    return OK;
}
CUresult cuStreamDestroy(Stream *stream) {
    ENTER("cuStreamDestroy", 1);
    streams_note(stream, 0);
    free(stream->queue.work);
    free(stream->recorded.work);
    free(stream);
    living[STREAMS]--;
    return OK;
}
CUresult cuStreamSynchronize(Stream *stream) {
    CUresult failed = enter("cuStreamSynchronize", 1);
    if (!stream) return INVALID_HANDLE;
    if (stream->capturing) { stream->broken = 1; return UNSUPPORTED; }
    if (!failed) drain(&stream->queue);
    stream->queue.count = 0;
    return failed;
}
CUresult cuStreamBeginCapture(Stream *stream, int mode) {
    ENTER("cuStreamBeginCapture", 1);
    if (mode != 1 || stream->capturing) return INVALID_VALUE; /* CU_STREAM_CAPTURE_MODE_THREAD_LOCAL */
    stream->capturing = 1;
    stream->broken = stream->recorded.count = 0;
    return OK;
}
CUresult cuStreamIsCapturing(Stream *stream, int *status) { ENTER("cuStreamIsCapturing", 1); *status = stream->capturing ? 1 + stream->broken : 0; return OK; }
CUresult cuStreamEndCapture(Stream *stream, List **graph) {
    CUresult failed = enter("cuStreamEndCapture", 1);
    if (!stream->capturing) return INVALID_VALUE;
    stream->capturing = 0;
    *graph = NULL;
    if (failed || stream->broken) return failed ? failed : INVALIDATED;
    *graph = malloc(sizeof **graph);
    **graph = stream->recorded;
    stream->recorded = (List){0};
    living[GRAPHS]++;
    return OK;
}
CUresult cuGraphInstantiateWithFlags(List **executable, List *graph, unsigned long long flags) {
    (void)flags;
    ENTER("cuGraphInstantiate", 1);
    *executable = calloc(1, sizeof **executable);
    for (int i = 0; i < graph->count; i++)
        add(*executable, graph->work[i].run, graph->work[i].with, graph->work[i].data, graph->work[i].bytes);
    living[EXECUTABLES]++;
    return OK;
}
static CUresult drop(List *list, int kind) { free(list->work); free(list); living[kind]--; return OK; }
CUresult cuGraphDestroy(List *graph) { ENTER("cuGraphDestroy", 1); return drop(graph, GRAPHS); }
CUresult cuGraphExecDestroy(List *executable) { ENTER("cuGraphExecDestroy", 1); return drop(executable, EXECUTABLES); }
CUresult cuGraphLaunch(List *executable, Stream *stream) {
    ENTER("cuGraphLaunch", 1);
    CUresult failed = OK;
    for (int i = 0; i < executable->count && !failed; i++)
        failed = push(stream, executable->work[i].run, executable->work[i].with, executable->work[i].data, executable->work[i].bytes);
    return failed;
}
CUresult cuLaunchHostFunc(Stream *stream, Host run, void *with) { ENTER("cuLaunchHostFunc", 1); return push(stream, run, with, NULL, 0); }

/* ---- copies */

typedef struct { char *to; const char *from; size_t bytes; } Copy;
static void copy_now(void *data) { Copy *c = data; memcpy(c->to, c->from, c->bytes); }
static CUresult copy_later(Stream *stream, void *to, const void *from, size_t bytes) {
    if (!to || !from) return INVALID_VALUE;
    Copy copy = {to, from, bytes};
    return push(stream, copy_now, NULL, &copy, sizeof copy);
}
CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, Stream *stream) { ENTER("cuMemcpyHtoDAsync", 1); return copy_later(stream, fake_memory(to), from, bytes); }
CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, Stream *stream) { ENTER("cuMemcpyDtoHAsync", 1); return copy_later(stream, to, fake_memory(from), bytes); }
typedef struct { size_t from_x, from_y; int from_type; const void *from_host; CUdeviceptr from_device; void *from_array;
                 size_t from_pitch, to_x, to_y; int to_type; void *to_host; CUdeviceptr to_device; void *to_array;
                 size_t to_pitch, width, height; } Copy2D;
static void copy_rows(void *data) {
    Copy2D *c = data;
    char *to = fake_memory(c->to_device), *from = fake_memory(c->from_device);
    for (size_t row = 0; row < c->height; row++) memcpy(to + row * c->to_pitch, from + row * c->from_pitch, c->width);
}
CUresult cuMemcpy2DAsync(const Copy2D *copy, Stream *stream) {
    ENTER("cuMemcpy2DAsync", 1);
    int device = copy->from_type == 2 && copy->to_type == 2 && fake_memory(copy->from_device) && fake_memory(copy->to_device);
    if (!device || copy->from_pitch < copy->width || copy->to_pitch < copy->width) return INVALID_VALUE;
    return push(stream, copy_rows, NULL, copy, sizeof *copy);
}

/* ---- modules: "PTX" is text, a kernel is a function that the test hands in */

typedef void (*Kernel)(unsigned grid, unsigned block, void **arguments);
typedef struct { char name[64], sizes[17]; Kernel run; } Function;
static Function kernels[8];
/* What a PTX's entry `name` does. `sizes`: of its arguments in bytes, one digit each ("8844"). */
void fake_kernel(const char *name, const char *sizes, Kernel run) {
    for (int i = 0; i < 8; i++) {
        if (kernels[i].name[0] && strcmp(kernels[i].name, name)) continue;
        strncpy(kernels[i].name, name, 63);
        strncpy(kernels[i].sizes, sizes, 16);
        kernels[i].run = run;
        return;
    }
    abort();
}
CUresult cuModuleLoadData(void **module, const char *image) {
    ENTER("cuModuleLoadData", 1);
    if (!strstr(image, ".version")) return INVALID_PTX;
    *module = strdup(image);
    living[MODULES]++;
    return OK;
}
CUresult cuModuleUnload(void *module) { ENTER("cuModuleUnload", 1); free(module); living[MODULES]--; return OK; }
CUresult cuModuleGetFunction(Function **function, const char *image, const char *name) {
    ENTER("cuModuleGetFunction", 1);
    char entry_point[96];
    snprintf(entry_point, sizeof entry_point, ".entry %s(", name);
    for (int i = 0; i < 8; i++)
        if (!strcmp(kernels[i].name, name) && strstr(image, entry_point)) { *function = &kernels[i]; return OK; }
    return NOT_FOUND;
}
typedef struct { Kernel run; unsigned grid, block; uint64_t values[16]; } Launch;
static void launch_now(void *data) {
    Launch *l = data;
    void *arguments[16];
    for (int i = 0; i < 16; i++) arguments[i] = &l->values[i];
    l->run(l->grid, l->block, arguments);
}
CUresult cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, Stream *stream, void **arguments, void **extra) {
    (void)shared;
    ENTER("cuLaunchKernel", 1);
    if (!gx || !gy || !gz || !bx || !by || !bz || bx * by * bz > 1024 || extra) return INVALID_VALUE;
    Launch launch = {function->run, gx * gy * gz, bx * by * bz, {0}};
    for (int i = 0; function->sizes[i]; i++) memcpy(&launch.values[i], arguments[i], function->sizes[i] - '0');
    return push(stream, launch_now, NULL, &launch, sizeof launch);
}

#include "egl.c"

/* ---- how the bindings find all this */

CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
    (void)version; (void)flags;
    if (!strcmp(name, "cuGetProcAddress")) name = "cuGetProcAddress_v2"; /* a driver answers with the version asked for */
    *function = dlsym(dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD), name);
    if (status) *status = *function ? 0 : 1;
    return *function ? OK : NOT_FOUND;
}

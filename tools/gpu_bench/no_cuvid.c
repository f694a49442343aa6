/* A libnvcuvid that decodes nothing. GStreamer's nvcodec plugin registers no element at all without one, and a container
 * may come without the driver's video part. `tools/gpu_bench.sh` uses it where there is no real one, and so do tests. */
#define NO(name) int name(void) { return 801; } /* CUDA_ERROR_NOT_SUPPORTED */
NO(cuvidCreateDecoder) NO(cuvidCreateVideoParser) NO(cuvidCtxLock) NO(cuvidCtxLockCreate) NO(cuvidCtxLockDestroy)
NO(cuvidCtxUnlock) NO(cuvidDecodePicture) NO(cuvidDestroyDecoder) NO(cuvidDestroyVideoParser) NO(cuvidGetDecoderCaps)
NO(cuvidMapVideoFrame64) NO(cuvidParseVideoData) NO(cuvidUnmapVideoFrame64)

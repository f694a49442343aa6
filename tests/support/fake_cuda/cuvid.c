/* A libnvcuvid that decodes nothing: GStreamer's nvcodec plugin registers no element at all without one. */
#define NO(name) int name(void) { return 801; } /* CUDA_ERROR_NOT_SUPPORTED */
NO(cuvidCreateDecoder) NO(cuvidCreateVideoParser) NO(cuvidCtxLock) NO(cuvidCtxLockCreate) NO(cuvidCtxLockDestroy)
NO(cuvidCtxUnlock) NO(cuvidDecodePicture) NO(cuvidDestroyDecoder) NO(cuvidDestroyVideoParser) NO(cuvidGetDecoderCaps)
NO(cuvidMapVideoFrame64) NO(cuvidParseVideoData) NO(cuvidUnmapVideoFrame64)

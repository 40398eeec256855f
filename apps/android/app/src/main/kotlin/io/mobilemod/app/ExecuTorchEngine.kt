package io.mobilemod.app

import io.mobilemod.core.PreprocessSpec
import io.mobilemod.core.harness.Engine
import io.mobilemod.core.harness.LoadRequest
import io.mobilemod.core.harness.UnavailableException
import io.mobilemod.core.harness.orClosed
import org.pytorch.executorch.EValue
import org.pytorch.executorch.ExecuTorchRuntime
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

/** A `.pte` file in ExecuTorch. Its delegate was fixed when it was exported. */
class ExecuTorchEngine(
    request: LoadRequest,
) : Engine {
    // The network's input, made once: a tensor of an array would be a new direct buffer at each inference.
    private val values = Tensor.allocateFloatBuffer(request.shape.fold(1L, Long::times).toInt())
    private val input = EValue.from(Tensor.fromBlob(values, request.shape))
    private val module = Module.load(request.model.path, Module.LOAD_MODE_MMAP, request.threads)
    private val givesClasses = request.givesClasses
    private val backends: List<String>

    init {
        backends =
            AutoCloseable { module.destroy() }.orClosed {
                val needed = module.getMethodMetadata(METHOD).backends.toList()
                val lacking = needed - ExecuTorchRuntime.getRegisteredBackends().toSet()
                if (lacking.isNotEmpty()) throw UnavailableException("this app's ExecuTorch has no ${lacking.joinToString()}")
                module.loadMethod(METHOD)
                needed
            }
    }

    override val runtime = "ExecuTorch ${BuildConfig.EXECUTORCH}, ${backends.joinToString()}"
    override val partitions: Int? = null
    override val fallback: Int? = null

    // The exported network's own layout, which is the manifest's.
    override val layout = if (request.shape[1] == 3L) PreprocessSpec.Layout.NCHW else PreprocessSpec.Layout.NHWC

    override fun run(input: FloatArray): FloatArray {
        values.clear()
        values.put(input)
        val output = module.forward(this.input)[0].toTensor()
        // Already a copy of the module's memory.
        return if (givesClasses) codes(output.dataAsUnsignedByteArray) else output.dataAsFloatArray
    }

    override fun close() = module.destroy()

    companion object {
        private const val METHOD = "forward"

        /** What `.pte` files of a bundle are exported for. */
        val DELEGATES = listOf("xnnpack")
    }
}

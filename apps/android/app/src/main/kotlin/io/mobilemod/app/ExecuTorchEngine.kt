package io.mobilemod.app

import io.mobilemod.core.PreprocessSpec
import io.mobilemod.core.harness.Engine
import io.mobilemod.core.harness.UnavailableException
import org.pytorch.executorch.EValue
import org.pytorch.executorch.ExecuTorchRuntime
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import java.io.File

/** A `.pte` file in ExecuTorch. Its delegate was fixed when it was exported. */
class ExecuTorchEngine(
    model: File,
    threads: Int,
    private val shape: LongArray,
) : Engine {
    private val module = Module.load(model.path, Module.LOAD_MODE_MMAP, threads)

    init {
        val lacking = module.getMethodMetadata(METHOD).backends.filter { it !in ExecuTorchRuntime.getRegisteredBackends() }
        if (lacking.isNotEmpty()) throw UnavailableException("this app's ExecuTorch has no ${lacking.joinToString()}")
        module.loadMethod(METHOD)
    }

    override val runtime = "ExecuTorch ${BuildConfig.EXECUTORCH}, ${module.getMethodMetadata(METHOD).backends.joinToString()}"
    override val partitions: Int? = null
    override val fallback: Int? = null

    // The exported network's own layout, which is the manifest's.
    override val layout = if (shape[1] == 3L) PreprocessSpec.Layout.NCHW else PreprocessSpec.Layout.NHWC

    override fun run(input: FloatArray): FloatArray {
        val outputs = module.forward(EValue.from(Tensor.fromBlob(input, shape)))
        // A copy: the tensor's memory is the module's.
        return outputs[0].toTensor().dataAsFloatArray.copyOf()
    }

    override fun close() = module.destroy()

    companion object {
        private const val METHOD = "forward"

        /** What `.pte` files of a bundle are exported for. */
        val DELEGATES = listOf("xnnpack")
    }
}

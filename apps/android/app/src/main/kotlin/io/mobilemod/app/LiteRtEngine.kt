package io.mobilemod.app

import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import io.mobilemod.core.TfliteFile
import io.mobilemod.core.harness.Engine
import java.io.File

/** A `.tflite` file in LiteRT. GPU and NPU are asked for alone: a model that they can't take whole fails. */
class LiteRtEngine(
    model: File,
    threads: Int,
    private val delegate: String,
) : Engine {
    private val compiled = CompiledModel.create(model.path, options(threads))
    private val inputs = compiled.createInputBuffers()
    private val outputs = compiled.createOutputBuffers()

    override val runtime = "LiteRT ${BuildConfig.LITERT}, ${if (delegate in ACCELERATORS) delegate.uppercase() else "XNNPACK"}"
    override val partitions: Int? = null
    override val fallback: Int? = null
    override val accelerated = if (delegate in ACCELERATORS) true else null
    override val layout = TfliteFile.layout(model)

    override fun run(input: FloatArray): FloatArray {
        inputs[0].writeFloat(input)
        compiled.run(inputs, outputs)
        return outputs[0].readFloat()
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        compiled.close()
    }

    private fun options(threads: Int): CompiledModel.Options {
        ACCELERATORS[delegate]?.let { return CompiledModel.Options(it) }
        val options = CompiledModel.Options(Accelerator.CPU)
        options.cpuOptions = CompiledModel.CpuOptions(numThreads = threads)
        return options
    }

    companion object {
        const val GPU = "gpu"
        const val NPU = "npu"
        private val ACCELERATORS = mapOf(GPU to Accelerator.GPU, NPU to Accelerator.NPU)

        /** LiteRT's CPU kernels are XNNPACK's. */
        val DELEGATES = listOf("xnnpack", GPU)
    }
}

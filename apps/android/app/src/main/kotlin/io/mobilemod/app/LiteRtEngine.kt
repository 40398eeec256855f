package io.mobilemod.app

import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import io.mobilemod.core.TfliteFile
import io.mobilemod.core.harness.Engine
import java.io.File

/** A `.tflite` file in LiteRT. The GPU is asked for alone: a model that it can't take whole fails. */
class LiteRtEngine(
    model: File,
    threads: Int,
    private val delegate: String,
) : Engine {
    private val compiled = CompiledModel.create(model.path, options(threads))
    private val inputs = compiled.createInputBuffers()
    private val outputs = compiled.createOutputBuffers()

    override val runtime = "LiteRT ${BuildConfig.LITERT}, ${if (delegate == GPU) "GPU" else "XNNPACK"}"
    override val partitions: Int? = null
    override val fallback: Int? = null
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
        if (delegate == GPU) return CompiledModel.Options(Accelerator.GPU)
        val options = CompiledModel.Options(Accelerator.CPU)
        options.cpuOptions = CompiledModel.CpuOptions(numThreads = threads)
        return options
    }

    companion object {
        const val GPU = "gpu"

        /** LiteRT's CPU kernels are XNNPACK's. */
        val DELEGATES = listOf("xnnpack", GPU)
    }
}

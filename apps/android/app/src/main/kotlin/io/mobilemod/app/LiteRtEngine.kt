package io.mobilemod.app

import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.CompiledModel.GpuOptions
import com.google.ai.edge.litert.Environment
import com.google.ai.edge.litert.TensorBuffer
import io.mobilemod.core.TfliteFile
import io.mobilemod.core.harness.Engine
import io.mobilemod.core.harness.LoadRequest
import io.mobilemod.core.harness.orClosed
import java.io.File

/**
 * A `.tflite` file in LiteRT. A GPU is asked for alone: a model that it can't take whole fails. With
 * [REST] behind it, what it doesn't take runs on the CPU; LiteRT adds the CPU to an NPU itself.
 */
class LiteRtEngine(
    request: LoadRequest,
    environment: Environment?,
) : Engine {
    private val delegate = request.delegate
    private val givesClasses = request.givesClasses
    override val layout = TfliteFile.layout(request.model)
    private val compiled = CompiledModel.create(request.model.path, options(request), environment)
    private val inputs: List<TensorBuffer>
    private val outputs: List<TensorBuffer>

    init {
        inputs = compiled.orClosed { compiled.createInputBuffers() }
        outputs = AutoCloseable { close(inputs) }.orClosed { compiled.createOutputBuffers() }
    }

    override val runtime = "LiteRT ${BuildConfig.LITERT}, ${NAMES[delegate] ?: "XNNPACK"}"
    override val partitions: Int? = null
    override val fallback: Int? = null
    override val accelerated = if (delegate in ALONE) true else null

    override fun run(input: FloatArray): FloatArray {
        inputs[0].writeFloat(input)
        compiled.run(inputs, outputs)
        return if (givesClasses) codes(outputs[0].readInt8()) else outputs[0].readFloat()
    }

    override fun close() = close(inputs + outputs)

    private fun close(buffers: List<TensorBuffer>) {
        buffers.forEach { it.close() }
        compiled.close()
    }

    private fun options(request: LoadRequest): CompiledModel.Options {
        val accelerator = ACCELERATORS[delegate.removeSuffix(REST)]
        val cache = request.cache?.also { it.mkdirs() }
        val options =
            when {
                accelerator == null -> CompiledModel.Options(Accelerator.CPU)
                delegate.endsWith(REST) -> CompiledModel.Options(accelerator, Accelerator.CPU)
                else -> CompiledModel.Options(accelerator)
            }
        if (accelerator == Accelerator.GPU) options.gpuOptions = gpuOptions(request.model, cache)
        if (accelerator == null || delegate.endsWith(REST)) {
            // The weights as XNNPACK packs them: the next load maps them instead of packing them again.
            val packed = cache?.let { File(it, "weights.xnnpack").path }
            options.cpuOptions = CompiledModel.CpuOptions(numThreads = request.threads, xnnPackWeightCachePath = packed)
        }
        return options
    }

    /** The precision is said, not left to the phone; the GPU's compiled programs are kept. */
    private fun gpuOptions(
        model: File,
        cache: File?,
    ) = GpuOptions(
        precision = if (delegate.startsWith(GPU_FLOAT32)) GpuOptions.Precision.FP32 else GpuOptions.Precision.FP16,
        serializationDir = cache?.path,
        modelCacheKey = cache?.let { "${model.name}-$delegate" },
        serializeProgramCache = cache?.let { true },
    )

    companion object {
        const val CPU = "xnnpack"
        const val NPU = "npu"
        private const val GPU = "gpu"
        private const val GPU_FLOAT32 = "gpu-fp32"

        /** Behind a delegate: the CPU runs what it doesn't take. */
        const val REST = "+cpu"

        private val ACCELERATORS = mapOf(GPU to Accelerator.GPU, GPU_FLOAT32 to Accelerator.GPU, NPU to Accelerator.NPU)
        private val ALONE = ACCELERATORS.filterValues { it == Accelerator.GPU }.keys
        private val NAMES =
            mapOf(GPU to "GPU in float16", GPU_FLOAT32 to "GPU in float32", NPU to "NPU, what it takes").let { names ->
                names + names.map { (delegate, name) -> delegate + REST to "$name, the rest on XNNPACK" }
            }

        /** What a phone with [accelerators] can be asked for; the CPU's kernels are XNNPACK's. */
        fun delegates(accelerators: Set<Accelerator>): List<String> {
            val there = ACCELERATORS.filterValues(accelerators::contains).keys
            return listOf(CPU) + there + there.map { it + REST }
        }

        /** What the harness may ask for: a phone that lacks it says so. */
        val UNITS = listOf(CPU, GPU, NPU)
    }
}

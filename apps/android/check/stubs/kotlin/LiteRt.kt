// google-ai-edge/LiteRT at f67457790c9c2ab67347d6fe53270e8d3df20868, whose litert/version.bzl says 2.3.0:
// Model.kt, TensorBuffer.kt, Environment.kt and Common.kt of
// litert/kotlin/src/main/kotlin/com/google/ai/edge/litert.
@file:Suppress("UNUSED_PARAMETER", "unused")

package com.google.ai.edge.litert

import android.content.Context

enum class Accelerator(
    val value: Int,
) {
    NONE(0),
    CPU(1),
    GPU(2),
    NPU(3),
}

abstract class JniHandle internal constructor() : AutoCloseable {
    final override fun close() = Unit
}

class LiteRtException private constructor() : Exception()

class Environment private constructor() : JniHandle() {
    enum class Option {
        CompilerPluginLibraryDir,
        DispatchLibraryDir,
        SystemRuntimeHandle,
        SystemGpuAcceleratorHandle,
    }

    @Throws(LiteRtException::class)
    external fun getAvailableAccelerators(): Set<Accelerator>

    companion object {
        @Throws(LiteRtException::class)
        @JvmOverloads
        @JvmStatic
        fun create(
            context: Context,
            options: Map<Option, String> = mapOf(),
            enableCompilerCache: Boolean = true,
        ): Environment = TODO()

        @Throws(LiteRtException::class)
        @JvmOverloads
        @JvmStatic
        fun create(options: Map<Option, String> = mapOf()): Environment = TODO()
    }
}

class TensorBuffer internal constructor() : JniHandle() {
    @Throws(LiteRtException::class)
    external fun writeFloat(data: FloatArray)

    @Throws(LiteRtException::class)
    external fun writeInt8(data: ByteArray)

    @Throws(LiteRtException::class)
    external fun readFloat(): FloatArray

    @Throws(LiteRtException::class)
    external fun readInt8(): ByteArray
}

class CompiledModel private constructor() : JniHandle() {
    data class CpuOptions(
        val numThreads: Int? = null,
        val xnnPackFlags: Int? = null,
        val xnnPackWeightCachePath: String? = null,
    )

    data class GpuOptions(
        val constantTensorSharing: Boolean? = null,
        val infiniteFloatCapping: Boolean? = null,
        val allowSrcQuantizedFcConvOps: Boolean? = null,
        val precision: Precision? = null,
        val bufferStorageType: BufferStorageType? = null,
        val preferTextureWeights: Boolean? = null,
        val serializationDir: String? = null,
        val modelCacheKey: String? = null,
        val serializeProgramCache: Boolean? = null,
        val serializeExternalTensors: Boolean? = null,
        val externalTensorsMode: Boolean? = null,
        val externalTensorPattern: String? = null,
        val backend: Backend? = null,
        val priority: Priority? = null,
        val numStepsOfCommandBufferPreparations: Int? = null,
    ) {
        enum class Precision { DEFAULT, FP16, FP32, FP16_WITH_FP32_ACCUM }

        enum class BufferStorageType { DEFAULT, BUFFER, TEXTURE_2D }

        enum class Backend {
            AUTOMATIC,
            OPENCL,

            @Deprecated("Use AUTOMATIC instead.")
            WEBGPU,
            OPENGL,
        }

        enum class Priority { DEFAULT, LOW, NORMAL, HIGH }
    }

    class Options(
        internal val accelerators: Set<Accelerator>,
    ) {
        constructor(vararg accelerators: Accelerator) : this(setOf(*accelerators))

        var cpuOptions: CpuOptions? = null
        var gpuOptions: GpuOptions? = null

        companion object {
            @JvmStatic val CPU = Options(Accelerator.CPU)
        }
    }

    @Throws(LiteRtException::class)
    @JvmOverloads
    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = TODO()

    @Throws(LiteRtException::class)
    external fun createInputBuffers(signature: String): List<TensorBuffer>

    @Throws(LiteRtException::class)
    @JvmOverloads
    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = TODO()

    @Throws(LiteRtException::class)
    external fun createOutputBuffers(signature: String): List<TensorBuffer>

    @Throws(LiteRtException::class)
    @JvmOverloads
    fun run(
        inputs: List<TensorBuffer>,
        signatureIndex: Int = 0,
    ): List<TensorBuffer> = TODO()

    @Throws(LiteRtException::class)
    @JvmOverloads
    fun run(
        inputs: List<TensorBuffer>,
        outputs: List<TensorBuffer>,
        signatureIndex: Int = 0,
    ): Unit = TODO()

    @Throws(LiteRtException::class)
    external fun run(
        inputs: List<TensorBuffer>,
        outputs: List<TensorBuffer>,
        signature: String,
    )

    companion object {
        @Throws(LiteRtException::class)
        @JvmOverloads
        @JvmStatic
        fun create(
            filePath: String,
            options: Options = Options.CPU,
            optionalEnv: Environment? = null,
        ): CompiledModel = TODO()
    }
}

@file:Suppress("UNUSED_PARAMETER", "unused")

package com.google.ai.edge.litert

enum class Accelerator { NONE, CPU, GPU, NPU }

abstract class JniHandle : AutoCloseable {
    final override fun close() = Unit
}

class Environment : JniHandle()

class TensorBuffer : JniHandle() {
    fun writeFloat(data: FloatArray) = Unit

    fun readFloat(): FloatArray = floatArrayOf()
}

class CompiledModel private constructor() : JniHandle() {
    class CpuOptions(
        val numThreads: Int? = null,
        val xnnPackFlags: Int? = null,
        val xnnPackWeightCachePath: String? = null,
    )

    class Options(
        vararg accelerators: Accelerator,
    ) {
        var cpuOptions: CpuOptions? = null
    }

    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = emptyList()

    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = emptyList()

    fun run(
        inputs: List<TensorBuffer>,
        outputs: List<TensorBuffer>,
        signatureIndex: Int = 0,
    ) = Unit

    companion object {
        @JvmStatic
        fun create(
            filePath: String,
            options: Options,
            optionalEnv: Environment? = null,
        ): CompiledModel = CompiledModel()
    }
}

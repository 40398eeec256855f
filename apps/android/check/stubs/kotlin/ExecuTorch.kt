// pytorch/executorch at cff6f4dd32e630945b7188512c1f2b4f102b05ad, whose version.txt says 1.5.0: Module.kt, EValue.kt,
// Tensor.kt, MethodMetadata.kt and ExecuTorchRuntime.kt of
// extension/android/executorch_android/src/main/java/org/pytorch/executorch.
@file:Suppress("UNUSED_PARAMETER", "unused")

package org.pytorch.executorch

import java.io.Closeable
import java.nio.FloatBuffer

open class Module private constructor() : Closeable {
    open external fun forward(vararg inputs: EValue): Array<EValue>

    open external fun execute(
        methodName: String,
        vararg inputs: EValue,
    ): Array<EValue>

    open external fun loadMethod(methodName: String)

    open external fun getMethods(): Array<String>

    open external fun getMethodMetadata(name: String): MethodMetadata

    open external fun destroy()

    override fun close() = destroy()

    companion object {
        const val LOAD_MODE_FILE = 0
        const val LOAD_MODE_MMAP = 1
        const val LOAD_MODE_MMAP_USE_MLOCK = 2
        const val LOAD_MODE_MMAP_USE_MLOCK_IGNORE_ERRORS = 3

        @JvmStatic
        @JvmOverloads
        fun load(
            modelPath: String?,
            loadMode: Int = LOAD_MODE_FILE,
            numThreads: Int = 0,
        ): Module = TODO()
    }
}

class EValue private constructor() {
    val isTensor: Boolean
        external get

    external fun toTensor(): Tensor

    companion object {
        @JvmStatic
        external fun from(tensor: Tensor): EValue
    }
}

abstract class Tensor internal constructor() {
    external fun numel(): Long

    external fun shape(): LongArray

    open val dataAsByteArray: ByteArray
        external get
    open val dataAsUnsignedByteArray: ByteArray
        external get
    open val dataAsFloatArray: FloatArray
        external get

    companion object {
        @JvmStatic
        external fun allocateFloatBuffer(numElements: Int): FloatBuffer

        @JvmStatic
        external fun fromBlob(
            data: FloatArray,
            shape: LongArray,
        ): Tensor

        @JvmStatic
        external fun fromBlob(
            data: FloatBuffer,
            shape: LongArray,
        ): Tensor
    }
}

class MethodMetadata internal constructor(
    val name: String,
    val backends: Array<String>,
)

class ExecuTorchRuntime private constructor() {
    companion object {
        @JvmStatic
        external fun getRegisteredOps(): Array<String>

        @JvmStatic
        external fun getRegisteredBackends(): Array<String>
    }
}

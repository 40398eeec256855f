package io.mobilemod.app

import io.mobilemod.core.harness.Engine
import io.mobilemod.core.harness.LoadRequest
import io.mobilemod.core.harness.UnavailableException

/** The runtimes of this app, by a model file's `target`. */
object Engines {
    private const val LITERT = "tflite"
    private const val EXECUTORCH = "executorch"

    // A `.pte` for the GPU; runs where the app is built with ExecuTorch's Vulkan delegate.
    private const val VULKAN = "executorch:vulkan"

    /** What this app can run. */
    val TARGETS = listOf(LITERT, EXECUTORCH)

    /** Name and version, as `hello` tells them. */
    val VERSIONS = mapOf("litert" to BuildConfig.LITERT, "executorch" to BuildConfig.EXECUTORCH)

    /** The version that runs files of [target]. */
    fun version(target: String): String = if (target == LITERT) BuildConfig.LITERT else BuildConfig.EXECUTORCH

    /** What can run files of [target], the usual one first. */
    fun delegates(target: String): List<String> = if (target == LITERT) LiteRtEngine.DELEGATES else ExecuTorchEngine.DELEGATES

    /** What the harness may ask for beside them: what a phone or a build of the app may have. */
    private fun units(target: String): List<String> =
        when (target) {
            LITERT -> LiteRtEngine.DELEGATES + LiteRtEngine.NPU
            VULKAN -> listOf("vulkan")
            else -> delegates(target)
        }

    /** Loads a model; throws where the phone or this app can't. */
    fun open(request: LoadRequest): Engine {
        val target = request.target
        if (target != VULKAN && target !in TARGETS) throw UnavailableException("this app has no runtime for $target files")
        // LiteRT's CPU is XNNPACK, so both words mean the same there.
        val delegate = if (target == LITERT && request.delegate == "cpu") "xnnpack" else request.delegate
        if (delegate !in units(target)) throw UnavailableException("$target files can't run with delegate '$delegate' here")
        return try {
            if (target == LITERT) {
                LiteRtEngine(request.model, request.threads, delegate)
            } else {
                ExecuTorchEngine(request.model, request.threads, request.shape)
            }
        } catch (error: LinkageError) {
            throw UnavailableException("its runtime isn't built for this phone: ${error.message}", error)
        }
    }
}

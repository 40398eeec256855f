package io.mobilemod.app

import io.mobilemod.core.harness.Engine
import java.io.File

/** The runtimes of this app, by a model file's `target`. */
object Engines {
    private const val LITERT = "tflite"
    private const val EXECUTORCH = "executorch"

    /** What this app can run. */
    val TARGETS = listOf(LITERT, EXECUTORCH)

    /** Name and version, as `hello` tells them. */
    val VERSIONS = mapOf("litert" to BuildConfig.LITERT, "executorch" to BuildConfig.EXECUTORCH)

    /** The version that runs files of [target]. */
    fun version(target: String): String = if (target == LITERT) BuildConfig.LITERT else BuildConfig.EXECUTORCH

    /** What can run files of [target], the usual one first. */
    fun delegates(target: String): List<String> = if (target == LITERT) LiteRtEngine.DELEGATES else ExecuTorchEngine.DELEGATES

    /** Loads [model] for inputs of [shape]; throws where the phone or this app can't. */
    fun open(
        model: File,
        target: String,
        threads: Int,
        delegate: String,
        shape: LongArray,
    ): Engine {
        require(target in TARGETS) { "this app has no runtime for $target files" }
        // LiteRT's CPU is XNNPACK, so both words mean the same there.
        val asked = if (target == LITERT && delegate == "cpu") "xnnpack" else delegate
        require(asked in delegates(target)) { "$target files can't run with delegate '$delegate' here" }
        return if (target == LITERT) LiteRtEngine(model, threads, asked) else ExecuTorchEngine(model, threads, shape)
    }
}

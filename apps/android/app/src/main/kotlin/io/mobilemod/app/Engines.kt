package io.mobilemod.app

import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.Environment
import io.mobilemod.core.harness.Engine
import io.mobilemod.core.harness.EngineHolder
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

    /** Every model that this process has loaded. */
    val holder = EngineHolder(::load)

    @Volatile
    private var libraries: String? = null

    // Where vendors' NPU libraries are, if the app ships any.
    private val environment: Environment? by lazy {
        attempted {
            val folders = listOf(Environment.Option.DispatchLibraryDir, Environment.Option.CompilerPluginLibraryDir)
            Environment.create(libraries?.let { path -> folders.associateWith { path } } ?: emptyMap())
        }
    }
    private val accelerators: Set<Accelerator> by lazy { attempted { environment?.getAvailableAccelerators() } ?: emptySet() }

    /** To be called before anything is loaded. */
    fun prepare(context: Context) {
        libraries = context.applicationInfo.nativeLibraryDir
    }

    /** The version that runs files of [target]. */
    fun version(target: String): String = if (target == LITERT) BuildConfig.LITERT else BuildConfig.EXECUTORCH

    /** What can run files of [target] on this phone, the usual one first. */
    fun delegates(target: String): List<String> = if (target == LITERT) LiteRtEngine.delegates(accelerators) else ExecuTorchEngine.DELEGATES

    private fun isKnown(
        target: String,
        delegate: String,
    ): Boolean =
        when (target) {
            LITERT -> delegate in LiteRtEngine.UNITS || delegate in delegates(target)
            VULKAN -> delegate == "vulkan"
            else -> delegate in delegates(target)
        }

    /** Loads a model; throws where the phone or this app can't. */
    private fun load(request: LoadRequest): Engine {
        val target = request.target
        if (target != VULKAN && target !in TARGETS) throw UnavailableException("this app has no runtime for $target files")
        // LiteRT's CPU is XNNPACK, so both words mean the same there.
        val delegate = if (target == LITERT && request.delegate == "cpu") LiteRtEngine.CPU else request.delegate
        if (!isKnown(target, delegate)) throw UnavailableException("$target files can't run with delegate '$delegate' here")
        return try {
            if (target == LITERT) {
                val (threads, shape, cache) = Triple(request.threads, request.shape, request.cache)
                val asked = LoadRequest(request.model, target, threads, delegate, shape, cache, request.givesClasses)
                LiteRtEngine(asked, environment)
            } else {
                ExecuTorchEngine(request)
            }
        } catch (error: LinkageError) {
            throw UnavailableException("its runtime isn't built for this phone: ${error.message}", error)
        }
    }

    /** What [ask] gives; null where the runtime isn't there or doesn't say. */
    private fun <T> attempted(ask: () -> T?): T? =
        try {
            ask()
        } catch (_: Exception) {
            null
        } catch (_: LinkageError) {
            null
        }
}

/** A map's codes as numbers, which outputs are. */
internal fun codes(bytes: ByteArray) = FloatArray(bytes.size) { (bytes[it].toInt() and 255).toFloat() }

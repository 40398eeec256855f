package io.mobilemod.core.harness

import io.mobilemod.core.Manifest
import io.mobilemod.core.logitsSha256
import io.mobilemod.core.maps.Runs
import io.mobilemod.core.topK

/** What lines tell of an output of a file of a target: logits, or, of a network of maps, the map as its runs. */
class Answers(
    private val manifest: Manifest,
) {
    /** Of a `golden` line. */
    fun golden(
        output: FloatArray,
        target: String,
    ): Pair<String, Any> = manifest.mapOutput(output, target)?.let { "runs" to Runs.of(it.map()) } ?: ("logits" to output)

    /** Of an `image` line. [withLogits]: where they are no map. */
    fun image(
        output: FloatArray,
        target: String,
        withLogits: Boolean,
    ): Array<Pair<String, Any>> {
        val map = manifest.mapOutput(output, target)?.map()
        if (map != null) {
            return arrayOf("top" to emptyList<Any>(), "runs" to Runs.of(map), "logits_sha256" to map.sha256())
        }
        val top = topK(output, TOP).map { listOf(it.index, it.logit) }
        val told = arrayOf<Pair<String, Any>>("top" to top, "logits_sha256" to logitsSha256(output))
        return if (withLogits) told + ("logits" to output) else told
    }

    private companion object {
        const val TOP = 5
    }
}

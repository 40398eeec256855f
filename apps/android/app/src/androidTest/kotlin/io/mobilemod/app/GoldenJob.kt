package io.mobilemod.app

import android.content.Context
import io.mobilemod.core.Json
import io.mobilemod.core.ModelFile
import io.mobilemod.core.harness.Job
import io.mobilemod.core.hex
import java.io.File
import java.security.MessageDigest

/** A harness' job in the app's external files: the golden images through one [model] of the bundle. */
class GoldenJob(
    private val context: Context,
    store: ModelStore,
    model: ModelFile,
) {
    val id = "%064x".format(System.nanoTime())
    val folder = File(context.getExternalFilesDir(null), "jobs/$id")

    init {
        val file = mapOf("name" to model.file, "target" to model.target, "twin" to null)
        val delegate = Engines.delegates(model.target).first()
        val job =
            mapOf(
                "schema" to Job.SCHEMA,
                "id" to id,
                "model" to store.manifest.model,
                "manifest" to content("manifest.json"),
                "files" to listOf(file + content(model.file)),
                "inputs" to mapOf("kind" to "images", "count" to 0, "items" to emptyList<Any>()),
                "golden" to store.manifest.golden.map { content(it.image) },
                "configurations" to listOf(mapOf("file" to model.file, "threads" to 1, "delegate" to delegate)),
                "accuracy" to false,
                "latency" to null,
                "sustained_seconds" to 0,
                "logits" to true,
            )
        File(folder, Job.FILE).writeText(Json.write(job))
    }

    /** A file of the bundle, copied out of the app's assets. */
    private fun content(path: String): Map<String, Any?> {
        val bytes = context.assets.open("model/$path").use { it.readBytes() }
        val file = File(folder, path)
        file.parentFile?.mkdirs()
        file.writeBytes(bytes)
        return mapOf("path" to path, "sha256" to MessageDigest.getInstance("SHA-256").digest(bytes).hex())
    }
}

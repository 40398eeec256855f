package io.mobilemod.app

import android.content.Context
import io.mobilemod.core.DecodedImage
import io.mobilemod.core.Manifest
import io.mobilemod.core.ModelFile
import io.mobilemod.core.Preprocessor
import io.mobilemod.core.harness.Engine
import io.mobilemod.core.harness.LoadRequest
import io.mobilemod.core.hex
import java.io.File
import java.io.IOException
import java.security.DigestInputStream
import java.security.MessageDigest

/** The bundle in the app's assets; the only place that knows where it lies. */
class ModelStore(
    private val context: Context,
) {
    /** The text of the bundle's `manifest.json`; throws `IOException` where there is none. */
    val manifestText: String by lazy { asset(MANIFEST).decodeToString() }

    /** The bundle's manifest; throws `IOException` or `JsonException` where there is none to read. */
    val manifest: Manifest by lazy { Manifest.parse(manifestText) }

    /** The model as a file, which the runtimes map into memory: copied out of the assets once. */
    fun model(file: ModelFile): File {
        val folder = File(context.noBackupFilesDir, "models/${file.sha256}")
        val target = File(folder, file.file)
        if (target.length() == file.bytes) return target
        folder.mkdirs()
        val part = File(folder, "${file.file}.part")
        val digest = MessageDigest.getInstance("SHA-256")
        DigestInputStream(context.assets.open("$FOLDER/${file.file}"), digest).use { from ->
            part.outputStream().use { from.copyTo(it) }
        }
        if (digest.digest().hex() != file.sha256) {
            part.delete()
            throw IOException("${file.file} is not the file of its manifest (sha256 differs)")
        }
        if (!part.renameTo(target)) throw IOException("$target can't be written")
        return target
    }

    /** Loads what is chosen for [owner], with what the runtime has kept of an earlier load. */
    fun open(
        owner: Any,
        choice: Choice,
    ): Engine {
        Engines.prepare(context)
        val file = choice.file
        val shape = Preprocessor(manifest.preprocess).inputShape
        // The system empties this folder with every update of the app, and so of the runtimes.
        val cache = File(context.codeCacheDir, "prepared/${file.sha256}/${choice.delegate}")
        val (threads, delegate) = choice.threads to choice.delegate
        val request = LoadRequest(model(file), file.target, threads, delegate, shape, cache, manifest.givesClasses)
        return Engines.holder.open(owner, request)
    }

    /** A golden image of the manifest, as the PNG that it is. */
    fun goldenBytes(image: String): ByteArray = asset(image)

    /** A golden image of the manifest, decoded. */
    fun golden(image: String): DecodedImage = Images.decode(goldenBytes(image))

    private fun asset(name: String): ByteArray = context.assets.open("$FOLDER/$name").use { it.readBytes() }

    private companion object {
        const val FOLDER = "model"
        const val MANIFEST = "manifest.json"
    }
}

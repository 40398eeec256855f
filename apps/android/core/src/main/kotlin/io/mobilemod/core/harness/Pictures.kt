package io.mobilemod.core.harness

import io.mobilemod.core.Json
import io.mobilemod.core.Manifest
import io.mobilemod.core.ModelFile
import io.mobilemod.core.hex
import java.io.File
import java.io.FilterInputStream
import java.io.InputStream
import java.security.DigestOutputStream
import java.security.MessageDigest
import java.util.zip.ZipInputStream

/** A picture of a labelled folder: its [name] within it, its class, and what it is read from. */
class Picture(
    val name: String,
    val target: Int,
    val open: () -> InputStream,
)

/** Which class a path in a labelled folder or archive belongs to: that of the innermost folder named by a class's id or label. */
class ClassFolders(
    manifest: Manifest,
) {
    private val byName = HashMap<String, Int>()

    init {
        manifest.labels.forEachIndexed { i, label -> byName.putIfAbsent(label, i) }
        manifest.ids.forEachIndexed { i, id -> byName[id] = i }
    }

    /** Of [path], parts separated by `/`, the last one the file's name; null where no folder is a class. */
    fun of(path: String): Int? =
        path
            .split('/')
            .dropLast(1)
            .reversed()
            .firstNotNullOfOrNull(byName::get)
}

/**
 * The pictures of a ZIP archive in folders that are classes. Each is to be read before the next is asked
 * for, as [LabelledJob.write] does; hidden files are passed over.
 */
fun zippedPictures(
    archive: ZipInputStream,
    classes: ClassFolders,
): Sequence<Picture> =
    generateSequence { archive.nextEntry }.mapNotNull { entry ->
        val target = if (entry.isDirectory || isHidden(entry.name)) null else classes.of(entry.name)
        target?.let { Picture(entry.name, it) { Entry(archive) } }
    }

/** Whether a file of a labelled folder is none of its pictures, as `.DS_Store`. */
fun isHidden(path: String): Boolean = path.substringAfterLast('/').startsWith(".")

/** The entry that [archive] is at, which stays open. */
private class Entry(
    archive: ZipInputStream,
) : FilterInputStream(archive) {
    override fun close() = Unit
}

/** A job on labelled pictures, written by the device itself. */
class LabelledJob(
    val folder: File,
    val job: Job,
    val names: List<String>,
    val targets: List<Int>,
) {
    companion object {
        /**
         * Writes a job of docs/harness-protocol.md below [root], in a folder named by its id: every
         * picture through every file of [models], whose twin is the float file of its target. [manifest]
         * is the bundle's `manifest.json`, [golden] reads a golden image of it; [how] gives a file's
         * delegate. Throws [JobException] where there is no picture; what was written of it is removed
         * then, as where a picture can't be read.
         */
        fun write(
            root: File,
            manifest: String,
            models: Map<ModelFile, File>,
            pictures: Sequence<Picture>,
            golden: (String) -> ByteArray,
            threads: Int,
            how: (ModelFile) -> String,
        ): LabelledJob {
            val part = File(root, "part")
            part.deleteRecursively()
            return AutoCloseable { part.deleteRecursively() }.orClosed {
                write(root, part, manifest, models, pictures, golden, threads, how)
            }
        }

        private fun write(
            root: File,
            part: File,
            manifest: String,
            models: Map<ModelFile, File>,
            pictures: Sequence<Picture>,
            golden: (String) -> ByteArray,
            threads: Int,
            how: (ModelFile) -> String,
        ): LabelledJob {
            val writer = Writer(part)
            val about = writer.put("manifest.json") { manifest.byteInputStream() }
            val bundle = Manifest.parse(manifest)
            val float = models.keys.groupBy { it.target }.mapValues { (_, files) -> files.find { it.precision != "int8" } }
            val files =
                models.map { (file, from) ->
                    writer.put("models/${file.file}") { from.inputStream() } +
                        mapOf(
                            "name" to file.file,
                            "bytes" to file.bytes,
                            "target" to file.target,
                            "precision" to file.precision,
                            "twin" to float[file.target]?.takeIf { it != file }?.file,
                        )
                }
            val taken = ArrayList<Picture>()
            val items =
                pictures
                    .mapIndexed { i, picture ->
                        taken.add(picture)
                        val path = "inputs/%06d.%s".format(i, extension(picture.name))
                        writer.put(path, picture.open) + mapOf("name" to picture.name, "target" to picture.target)
                    }.toList()
            if (items.isEmpty()) throw JobException("no picture lies in a folder that is named by a class of the model")
            val values =
                sortedMapOf(
                    "schema" to Job.SCHEMA,
                    "model" to bundle.model,
                    "manifest" to about,
                    "files" to files,
                    "inputs" to mapOf("kind" to "images", "count" to items.size, "items" to items),
                    "golden" to bundle.golden.map { (image) -> writer.put(image) { golden(image).inputStream() } },
                    "configurations" to
                        models.keys.map {
                            mapOf("file" to it.file, "threads" to threads, "delegate" to how(it), "self_test_only" to false)
                        },
                    "accuracy" to true,
                    "latency" to null,
                    "sustained_seconds" to 0,
                    "logits" to false,
                )
            val id = sha256(Json.write(sorted(values)))
            File(part, Job.FILE).writeText(Json.write(values + ("id" to id)))
            val folder = File(root, id)
            folder.deleteRecursively()
            if (!part.renameTo(folder)) throw JobException("$folder can't be written")
            return LabelledJob(folder, Job.read(folder), taken.map { it.name }, taken.map { it.target })
        }

        private fun extension(name: String) =
            name.substringAfterLast('.', "").lowercase().takeIf { Regex("[a-z0-9]{1,5}").matches(it) } ?: "image"

        /** With the keys of every object in order, as the id is of. */
        private fun sorted(value: Any?): Any? =
            when (value) {
                is Map<*, *> -> value.entries.associate { it.key as String to sorted(it.value) }.toSortedMap()
                is List<*> -> value.map(::sorted)
                else -> value
            }

        private fun sha256(text: String) = MessageDigest.getInstance("SHA-256").digest(text.toByteArray()).hex()
    }

    private class Writer(
        private val folder: File,
    ) {
        fun put(
            path: String,
            open: () -> InputStream,
        ): Map<String, Any?> {
            val file = File(folder, path)
            file.parentFile?.mkdirs()
            val digest = MessageDigest.getInstance("SHA-256")
            open().use { from -> DigestOutputStream(file.outputStream(), digest).use { from.copyTo(it) } }
            return mapOf("path" to path, "sha256" to digest.digest().hex())
        }
    }
}

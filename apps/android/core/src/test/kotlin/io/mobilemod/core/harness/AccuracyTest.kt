package io.mobilemod.core.harness

import io.mobilemod.core.TestBundle
import io.mobilemod.core.TestDevice
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.ByteArrayOutputStream
import java.io.File
import java.io.IOException
import java.util.zip.ZipEntry
import java.util.zip.ZipInputStream
import java.util.zip.ZipOutputStream
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNull
import kotlin.test.assertTrue

class AccuracyTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private fun pictures(): File {
        val folder = temporary.newFolder()
        for (i in 0 until 8) {
            val one = File(folder, "val/n${i % 4}/it's $i.png")
            one.parentFile.mkdirs()
            TestBundle.writeNoise(one, 40 + i, 36, i)
        }
        TestBundle.writeNoise(File(folder, "of no class.png"), 8, 8, 9)
        return folder
    }

    @Test
    fun theJobIsOneAndItsStreamTellsTheAccuracy() {
        val bundle = TestBundle(temporary.newFolder())
        val out = temporary.newFolder()
        // Another seed in the int8 file: some answers change.
        val labelled = labelledJob(bundle.folder, File(bundle.folder, "manifest.json").readText(), pictures(), out)
        assertEquals(8, labelled.targets.size)
        assertEquals(labelled.folder.name, Job.read(labelled.folder).id)
        val lines = ArrayList<String>()
        val seeds = mapOf("net_int8.tflite" to 12, "net_float32.tflite" to TestBundle.SEED)
        val device = TestDevice(engine = { file, _ -> io.mobilemod.core.LinearEngine(seeds.getValue(file.name), 4) })
        assertTrue(Runner(labelled.job, labelled.folder, device, { lines.add(it) }).run())
        val accuracy = Accuracy(labelled, lines.asSequence())
        val (int8, float) = accuracy.files()
        assertEquals(listOf("net_int8.tflite", "net_float32.tflite"), listOf(int8.file.name, float.file.name))
        assertEquals(listOf(8, 8), listOf(int8.answered, float.answered))
        val answers = lines.map { Lines.decode(it)!! }.filter { it["type"] == "image" }
        val right = answers.count { best(it) == labelled.targets[(it["image"] as Long).toInt()].toLong() }
        assertEquals(right, int8.right + float.right)
        val against = accuracy.against().single()
        assertEquals(float.percent - int8.percent, against.drop, 1e-9)
        val (a, b) = (0..1).map { c -> answers.filter { it["configuration"] == c.toLong() }.map(::best) }
        assertEquals(a.indices.filter { a[it] != b[it] }, against.changes.map { it.picture })
        assertTrue(against.changes.isNotEmpty())
    }

    @Test
    fun whatCantRunIsTold() {
        val bundle = TestBundle(temporary.newFolder())
        val labelled =
            labelledJob(bundle.folder, File(bundle.folder, "manifest.json").readText(), pictures(), temporary.newFolder())
        val lines = ArrayList<String>()
        val device =
            TestDevice(engine = { file, _ ->
                if ("int8" in file.name) throw UnavailableException("no NPU here")
                io.mobilemod.core.LinearEngine(TestBundle.SEED, 4)
            })
        Runner(labelled.job, labelled.folder, device, { lines.add(it) }).run()
        val accuracy = Accuracy(labelled, lines.asSequence())
        assertEquals(listOf("no NPU here"), accuracy.problems)
        assertEquals(listOf(0, 8), accuracy.files().map { it.answered })
        assertEquals(emptyList(), accuracy.against())
    }

    private fun best(line: Map<String, Any?>) = ((line["top"] as List<*>)[0] as List<*>)[0]

    @Test
    fun nothingIsLeftOfAJobThatCantBeMade() {
        val bundle = TestBundle(temporary.newFolder())
        val out = temporary.newFolder()
        val text = File(bundle.folder, "manifest.json").readText()
        assertFailsWith<JobException> { labelledJob(bundle.folder, text, temporary.newFolder(), out) }
        val broken = sequenceOf(Picture("n1/a.png", 1) { throw IOException("gone") })
        assertFailsWith<IOException> { LabelledJob.write(out, text, emptyMap(), broken, { byteArrayOf() }, 1) { "cpu" } }
        assertEquals(emptyList(), out.list()!!.toList())
    }

    @Test
    fun anArchiveIsAsItsFolder() {
        val bundle = TestBundle(temporary.newFolder())
        val text = File(bundle.folder, "manifest.json").readText()
        val pictures = pictures()
        val bytes = ByteArrayOutputStream()
        ZipOutputStream(bytes).use { zip ->
            for (file in pictures.walk().sorted().filter { it.isFile }) {
                zip.putNextEntry(ZipEntry(file.relativeTo(pictures).path))
                zip.write(file.readBytes())
            }
            zip.putNextEntry(ZipEntry("val/n1/.hidden.png"))
        }
        val folder = labelledJob(bundle.folder, text, pictures, temporary.newFolder())
        val models = bundle.manifest.files.associateWith { File(bundle.folder, it.file) }
        val archive =
            ZipInputStream(bytes.toByteArray().inputStream()).use {
                val found = zippedPictures(it, ClassFolders(bundle.manifest))
                LabelledJob.write(temporary.newFolder(), text, models, found, { File(bundle.folder, it).readBytes() }, 1) { "cpu" }
            }
        assertEquals(folder.job.id, archive.job.id)
        assertEquals(folder.names, archive.names)
    }

    @Test
    fun foldersAreClassesByIdOrLabel() {
        val classes = ClassFolders(TestBundle(temporary.newFolder()).manifest)
        assertEquals(2, classes.of("val/n2/a.jpg"))
        assertEquals(3, classes.of("class 3/more/a.jpg"))
        assertEquals(1, classes.of("n2/n1/a.jpg"))
        assertNull(classes.of("n2.jpg"))
        assertNull(classes.of("other/a.jpg"))
    }
}

package io.mobilemod.app

import android.content.ContentResolver
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import io.mobilemod.core.harness.ClassFolders
import io.mobilemod.core.harness.Picture
import io.mobilemod.core.harness.isHidden
import java.io.IOException

/** The pictures of a folder that the user has chosen, in folders that are classes. */
class PictureTree(
    private val resolver: ContentResolver,
    private val tree: Uri,
    private val classes: ClassFolders,
) {
    /** By path, so that the same folder is the same job every time. */
    fun pictures(): Sequence<Picture> {
        val found = ArrayList<Pair<String, Uri>>()
        collect(DocumentsContract.getTreeDocumentId(tree), "", found)
        return found.sortedBy { it.first }.asSequence().mapNotNull { (path, uri) ->
            classes.of(path)?.let { target ->
                Picture(path, target) { resolver.openInputStream(uri) ?: throw IOException("$path can't be opened") }
            }
        }
    }

    private fun collect(
        folder: String,
        path: String,
        found: MutableList<Pair<String, Uri>>,
    ) {
        val columns = arrayOf(Document.COLUMN_DOCUMENT_ID, Document.COLUMN_DISPLAY_NAME, Document.COLUMN_MIME_TYPE)
        val children = DocumentsContract.buildChildDocumentsUriUsingTree(tree, folder)
        resolver.query(children, columns, null, null, null)?.use { rows ->
            while (rows.moveToNext()) {
                val (id, name, type) = List(columns.size) { rows.getString(it) ?: "" }
                when {
                    type == Document.MIME_TYPE_DIR -> collect(id, "$path$name/", found)
                    !isHidden(name) -> found.add(path + name to DocumentsContract.buildDocumentUriUsingTree(tree, id))
                }
            }
        } ?: throw IOException("the folder can't be read")
    }
}
